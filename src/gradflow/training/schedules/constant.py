"""The peak at every step."""

from dataclasses import dataclass

from gradflow.config.registry import register
from gradflow.config.schedules import ScheduleConfig
from gradflow.config.validation import choice


@dataclass(frozen=True)
class ConstantConfig(ScheduleConfig):
    """The peak at every step."""

    name: str = choice("constant")


@register(ConstantConfig)
def constant(config: ConstantConfig, peak: float, step: int, steps: int) -> float:
    """peak."""
    return peak
