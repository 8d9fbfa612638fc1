"""Steps down, as in He et al. 2015, section 4.2."""

from dataclasses import dataclass

from gradflow.config.registry import register
from gradflow.config.schedules import ScheduleConfig
from gradflow.config.validation import choice, number


@dataclass(frozen=True)
class MultiStepConfig(ScheduleConfig):
    """He et al. 2015: `factor` at each milestone; a warm-up below the peak, then the peak."""

    name: str = choice("multi_step")
    milestones: tuple[int, ...] = (32_000, 48_000)
    factor: float = number(0.1, above=0, at_most=1)
    warmup_steps: int = number(0, at_least=0)
    warmup_factor: float = number(0.1, above=0, at_most=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        rising = list(self.milestones) == sorted(set(self.milestones))
        if not self.milestones or not rising or self.milestones[0] < 1:
            self.refuse("milestones", "must be rising steps from 1 on, such as [32000,48000]")


@register(MultiStepConfig)
def multi_step(config: MultiStepConfig, peak: float, step: int, steps: int) -> float:
    """peak * factor^(number of milestones <= step); peak * warmup_factor during the warm-up."""
    if step < config.warmup_steps:
        return peak * config.warmup_factor
    passed = sum(milestone <= step for milestone in config.milestones)
    return peak * config.factor**passed
