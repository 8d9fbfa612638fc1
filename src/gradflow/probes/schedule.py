"""At which steps a probe fires: functions of the step."""

from gradflow.config.probes import (
    EveryConfig,
    InitializationConfig,
    ListedConfig,
    LogSpacedConfig,
    ProbeConfig,
)


def fires(schedule: ProbeConfig, step: int, steps: int) -> bool:
    """Whether there is a measurement at `step` (0-based) of `steps`.

    Step 0 is the network at initialisation. `every` and `log_spaced` measure the first and
    the last step always, so that every record has a beginning and an end.
    """
    last = step == steps - 1
    match schedule:
        case EveryConfig():
            return step % schedule.every == 0 or last
        case LogSpacedConfig():
            return step == 0 or last or _decade(step, schedule) > _decade(step - 1, schedule)
        case ListedConfig():
            return step in schedule.steps
        case InitializationConfig():
            return step == 0
    return False


def _decade(step: int, schedule: LogSpacedConfig) -> int:
    """How many of the marks 10^(k / per_decade), k = 0, 1, ..., are at or below `step`."""
    if step < 1:
        return 0
    count = 0
    while 10 ** (count / schedule.per_decade) <= step:
        count += 1
    return count
