"""Half a cosine (Loshchilov and Hutter 2017)."""

from dataclasses import dataclass

from gradflow.config.registry import register
from gradflow.config.schedules import ScheduleConfig
from gradflow.config.validation import choice
from gradflow.training.learning_rate import half_cosine


@dataclass(frozen=True)
class CosineConfig(ScheduleConfig):
    """From the peak to 0 along half a cosine (Loshchilov and Hutter 2017)."""

    name: str = choice("cosine")


@register(CosineConfig)
def cosine(config: CosineConfig, peak: float, step: int, steps: int) -> float:
    """peak * (1 + cos(pi * step / steps)) / 2 (Loshchilov and Hutter 2017, eq. 5)."""
    return half_cosine(peak, 0.0, step / steps)
