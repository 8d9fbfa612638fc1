"""At which steps the gradient is measured (`probe`), or looked at closely (`details`).

`gradflow.probes.schedule.fires` says what each does.
"""

from dataclasses import dataclass
from typing import ClassVar

from gradflow.config.registry import GROUPS, Choice, Chosen, name_of
from gradflow.config.validation import choice, number


@dataclass(frozen=True)
class ProbeConfig(Chosen):
    """The steps at which there is a measurement."""

    GROUP: ClassVar[str] = "probe"


@dataclass(frozen=True)
class EveryConfig(ProbeConfig):
    """Every `every` steps, the first and the last step always."""

    name: str = choice("every")
    every: int = number(5, at_least=1)


@dataclass(frozen=True)
class LogSpacedConfig(ProbeConfig):
    """So many steps per decade, the first and the last step always."""

    name: str = choice("log_spaced")
    per_decade: int = number(10, at_least=1, at_most=1000)


@dataclass(frozen=True)
class ListedConfig(ProbeConfig):
    """These steps (0 is the network at initialization) and no other."""

    name: str = choice("listed")
    steps: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.steps or min(self.steps) < 0:
            self.refuse("steps", "must be steps from 0 on, such as [0,10,100]")


@dataclass(frozen=True)
class InitializationConfig(ProbeConfig):
    """The first step only: the network as it was drawn."""

    name: str = choice("initialization")


@dataclass(frozen=True)
class OffConfig(ProbeConfig):
    """Never."""

    name: str = choice("off")


def _no_function(config: ProbeConfig) -> None:
    config.refuse("name", "is read by gradflow.probes.schedule.fires")


for _config in (EveryConfig, LogSpacedConfig, ListedConfig, InitializationConfig, OffConfig):
    # The same schedules twice; the errors of their keys name the group.
    _details = type(f"Details{_config.__name__}", (_config,), {"GROUP": "details"})
    GROUPS["probe"].add(name_of(_config), Choice(_config, _no_function))
    GROUPS["details"].add(name_of(_config), Choice(_details, _no_function))
