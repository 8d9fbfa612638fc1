"""Learning rates as functions of the step."""

from dataclasses import dataclass
from typing import ClassVar

from gradflow.config.registry import Chosen


@dataclass(frozen=True)
class ScheduleConfig(Chosen):
    """A schedule is a file of gradflow/training/schedules: this, with a function.

    The function gets (config, peak, step, steps) and returns the learning rate at `step`, 0-based,
    of `steps`; the peak is `optimizer.learning_rate`.
    """

    GROUP: ClassVar[str] = "schedule"
