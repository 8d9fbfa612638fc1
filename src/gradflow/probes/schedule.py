"""At which steps a probe fires: functions of the step."""

from gradflow.config.schema import ProbeConfig


def fires(probe: ProbeConfig, step: int, steps: int) -> bool:
    """Whether gradients are measured at `step` (0-based) of `steps`.

    Step 0 is the network at initialisation; it and the last step are measured always,
    so that every record has a beginning and an end.
    """
    if probe.name == "off":
        return False
    return step % probe.every == 0 or step == steps - 1
