"""Learning rates as pure functions of the step."""

import math

from gradflow.config.registry import function_of
from gradflow.config.schedules import ScheduleConfig


def learning_rate(schedule: ScheduleConfig, peak: float, step: int, steps: int) -> float:
    """The rate at `step` (0-based) of `steps`, by the schedule's own function.

    Raises:
        GradflowError: nobody registered one for the schedule's class, or it returns no finite
            rate from 0 on.
    """
    rate = float(function_of(schedule)(schedule, peak, step, steps))
    if not (math.isfinite(rate) and rate >= 0):
        schedule.refuse("name", f"gives a learning rate of {rate} at step {step} of {steps}")
    return rate


def half_cosine(start: float, end: float, progress: float) -> float:
    """From `start` to `end` along half a cosine, as `progress` goes from 0 to 1."""
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
