"""Learning rates as pure functions of the step."""

import math

from gradflow.config.schema import (
    ConstantConfig,
    CosineConfig,
    MultiStepConfig,
    OneCycleConfig,
    ScheduleConfig,
)


def learning_rate(schedule: ScheduleConfig, peak: float, step: int, steps: int) -> float:
    """The rate at `step` (0-based) of `steps`, never above `peak`.

    constant    peak
    multi_step  peak * factor^(number of milestones <= step); during the warm-up
                peak * warmup_factor, after it the peak again (He et al. 2015, section 4.2)
    cosine      peak * (1 + cos(pi * step / steps)) / 2 (Loshchilov and Hutter 2017, eq. 5)
    one_cycle   half cosines: peak / start_divisor -> peak over the first `rise` of the
                steps, then -> peak / end_divisor at the last step (Smith 2018)
    """
    match schedule:
        case ConstantConfig():
            return peak
        case MultiStepConfig():
            if step < schedule.warmup_steps:
                return peak * schedule.warmup_factor
            passed = sum(milestone <= step for milestone in schedule.milestones)
            return peak * schedule.factor**passed
        case CosineConfig():
            return _half_cosine(peak, 0.0, step / steps)
        case OneCycleConfig():
            last = max(steps - 1, 1)
            top = schedule.rise * last
            if step <= top:
                return _half_cosine(peak / schedule.start_divisor, peak, step / top)
            fall = (step - top) / (last - top)
            return _half_cosine(peak, peak / schedule.end_divisor, fall)
    raise TypeError(f"no learning rate for {schedule!r}")


def _half_cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
