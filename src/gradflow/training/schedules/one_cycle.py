"""One cycle (Smith 2018)."""

from dataclasses import dataclass

from gradflow.config.registry import register
from gradflow.config.schedules import ScheduleConfig
from gradflow.config.validation import choice, number
from gradflow.training.learning_rate import half_cosine


@dataclass(frozen=True)
class OneCycleConfig(ScheduleConfig):
    """Up from peak/start_divisor, then down to near 0, both along half a cosine (Smith 2018)."""

    name: str = choice("one_cycle")
    rise: float = number(0.3, above=0, below=1)
    start_divisor: float = number(25.0, at_least=1)
    end_divisor: float = number(1e4, at_least=1)


@register(OneCycleConfig)
def one_cycle(config: OneCycleConfig, peak: float, step: int, steps: int) -> float:
    """peak / start_divisor -> peak over the first `rise` of the steps, then -> peak / end_divisor
    at the last step."""
    last = max(steps - 1, 1)
    top = config.rise * last
    if step <= top:
        return half_cosine(peak / config.start_divisor, peak, step / top)
    fall = (step - top) / (last - top)
    return half_cosine(peak, peak / config.end_divisor, fall)
