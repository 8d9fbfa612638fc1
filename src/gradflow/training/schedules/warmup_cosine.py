"""A warm-up and a decay, both along half a cosine: one cycle (Smith 2018) without its momentum.

Not torch's OneCycleLR: there the last rate is the first over a divisor, here the peak over one, so
that with the defaults of both, 25 and 1e4, torch's ends 25 times lower; and its peak is at step
pct_start * steps - 1. This schedule of `steps` steps is
OneCycleLR(max_lr=peak, total_steps=steps, pct_start=(rise * (steps - 1) + 1) / steps,
div_factor=start_divisor, final_div_factor=end_divisor / start_divisor).
"""

from dataclasses import dataclass
from typing import ClassVar

from gradflow.config.registry import register
from gradflow.config.schedules import ScheduleConfig
from gradflow.config.validation import choice, number
from gradflow.training.learning_rate import half_cosine


@dataclass(frozen=True)
class WarmupCosineConfig(ScheduleConfig):
    """Up from peak/start_divisor, then down to peak/end_divisor, both along half a cosine.

    Records and run ids have it by its earlier name, one_cycle, so that earlier runs stay the same.
    """

    RECORDED_AS: ClassVar[str] = "one_cycle"

    name: str = choice("warmup_cosine")
    rise: float = number(0.3, above=0, below=1)
    start_divisor: float = number(25.0, at_least=1)
    end_divisor: float = number(1e4, at_least=1)


@register(WarmupCosineConfig)
def warmup_cosine(config: WarmupCosineConfig, peak: float, step: int, steps: int) -> float:
    """peak / start_divisor -> peak over the first `rise` of the steps, then -> peak / end_divisor
    at the last step."""
    last = max(steps - 1, 1)
    top = config.rise * last
    if step <= top:
        return half_cosine(peak / config.start_divisor, peak, step / top)
    fall = (step - top) / (last - top)
    return half_cosine(peak, peak / config.end_divisor, fall)
