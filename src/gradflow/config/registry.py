"""What is chosen by name: tables that fill themselves from the files of a package.

A family of networks, a data set, an optimizer, a learning-rate schedule and a diagnostic is one
file. It declares a config class (its options, their ranges, and facts such as a family's task or
a diagnostic's tables) and one function, which gets an instance of it; `register` enters both:

    @dataclass(frozen=True)
    class CosineConfig(ScheduleConfig):
        name: str = choice("cosine")

    @register(CosineConfig)
    def cosine(config: CosineConfig, peak: float, step: int, steps: int) -> float: ...

Config, records and analysis know no torch, and yet the schema of the runs table has a column for
every option of every choice. So:

- The tables are here, at the bottom. A table names the package that fills it and imports every
  module of that package when the table is first read. No list of files is kept, so an addition
  touches none, and no import points from config to the rooms above it.
- A file of such a package imports torch inside its functions, and only for annotations at its
  top. If it needs torch modules (nn.Module) of its own, these are in a module beside the package,
  such as networks/unet.py. tests/config/test_registry.py imports all of them without torch.
- A choice that nobody registered is an error when it is used, never a default.
- Schemas and choices are read from the tables each time, so what is registered later, such as a
  file of the user's (see gradflow.config.plugins), takes part from then on.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from gradflow.config.validation import MISSING, Checked
from gradflow.core.errors import GradflowError

Value = TypeVar("Value")
Function = TypeVar("Function", bound=Callable[..., Any])


class Registry(Mapping[str, Value], Generic[Value]):
    """Name -> value, filled by a module, or by all modules of a package, when it is first read.

    Args:
        kind: of what is registered, for messages.
        home: the module or package, by its dotted name.
    """

    def __init__(self, kind: str, home: str):
        self.kind = kind
        self.home = home
        self._values: dict[str, Value] = {}
        self._is_loaded = False
        self._changes = 0

    def add(self, name: str, value: Value) -> None:
        """Enter a value.

        Raises:
            GradflowError: the name is taken.
        """
        module = _module_of(value)
        own = not module.startswith("gradflow.")
        if own:
            self._load()  # so that it is the newcomer that is refused
        if name in self._values:
            raise GradflowError(f"{self.kind}={name}: is registered already; choose another name")
        self._values[name] = value
        self._changes += 1
        if own:
            ADDED.append(Added(module, partial(self.remove, name)))

    def named(self, name: str) -> Callable[[Function], Function]:
        """A decorator: enter the function under `name`; of a registry of functions."""

        def enter(function: Function) -> Function:
            self.add(name, function)  # type: ignore[arg-type]  # Value is a function's type here
            return function

        return enter

    def remove(self, name: str) -> None:
        """Take a value out again."""
        del self._values[name]
        self._changes += 1

    def of_plugins(self) -> tuple[str, ...]:
        """The names that modules outside the package have entered."""
        return tuple(n for n, v in self.items() if not _module_of(v).startswith("gradflow."))

    @property
    def changes(self) -> int:
        """How often a value was entered or taken out: equal numbers, equal tables."""
        self._load()
        return self._changes

    def __getitem__(self, name: str) -> Value:
        self._load()
        if name not in self._values:
            raise KeyError(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(self._values)

    def __len__(self) -> int:
        self._load()
        return len(self._values)

    def _load(self) -> None:
        if self._is_loaded:
            return
        self._is_loaded = True  # before the imports: a file may read the table while it fills it
        try:
            home = importlib.import_module(self.home)
            if hasattr(home, "__path__"):
                for module in pkgutil.iter_modules(home.__path__):
                    importlib.import_module(f"{self.home}.{module.name}")
                # Some files may have been imported before; the columns of records need one order.
                self._values = dict(sorted(self._values.items()))
        except BaseException:
            self._is_loaded = False
            raise


class OfPlugins(Mapping[str, Value]):
    """What of a registry modules outside the package have entered, at each time."""

    def __init__(self, registry: Registry[Value]):
        self._registry = registry

    def __getitem__(self, name: str) -> Value:
        if name not in self._registry.of_plugins():
            raise KeyError(name)
        return self._registry[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._registry.of_plugins())

    def __len__(self) -> int:
        return len(self._registry.of_plugins())


class Added(NamedTuple):
    """What a module outside the package has registered, and what takes it out again."""

    module: str
    undo: Callable[[], object]


ADDED: list[Added] = []
"""Of this process, in order."""


def _module_of(value: Any) -> str:
    """The module of the function that was registered, alone or beside facts."""
    for inner in ("function", "func"):  # of a choice or a task; of a partial
        value = getattr(value, inner, value)
    return getattr(value, "__module__", None) or "gradflow."


class Choice(NamedTuple):
    """A config class and the function that does what a config of it says."""

    config: type["Chosen"]
    function: Callable[..., Any]


GROUPS: dict[str, Registry[Choice]] = {
    "network": Registry("network", "gradflow.networks.families"),
    "data": Registry("data", "gradflow.data.sets"),
    "optimizer": Registry("optimizer", "gradflow.training.optimizers"),
    "schedule": Registry("schedule", "gradflow.training.schedules"),
    "probe": Registry("probe", "gradflow.config.probes"),
    "details": Registry("details", "gradflow.config.probes"),
    "diagnostic": Registry("diagnostic", "gradflow.diagnostics"),
}
"""Config group -> the choices of `group=name`."""


@dataclass(frozen=True)
class Chosen(Checked):
    """Base of the config classes of a group, one of which is chosen by its `name`.

    FACTS: the class variables that each class of the group has to declare.
    RECORDED_AS: the name that records, run ids and the config.yaml of earlier runs have, if the
        choice was renamed.
    """

    FACTS: ClassVar[tuple[str, ...]] = ()
    RECORDED_AS: ClassVar[str] = ""
    name: str = MISSING

    def recorded(self) -> dict[str, Any]:
        """As `Checked.recorded`, by the name that earlier runs have."""
        return {**super().recorded(), "name": self.RECORDED_AS or self.name}


def register(config: type[Chosen]) -> Callable[[Function], Function]:
    """A decorator: the function does what a config of this class says.

    Args:
        config: a frozen dataclass below the base class of its group, such as NetworkConfig, which
            says what the function gets and returns; `name` is a choice of one name.

    Raises:
        GradflowError: the class declares no name or lacks a fact; the name is taken.
    """

    def enter(function: Function) -> Function:
        GROUPS[config.GROUP].add(name_of(config), Choice(config, function))
        return function

    missing = [fact for fact in config.FACTS if not hasattr(config, fact)]
    if missing:
        raise GradflowError(f"{config.__name__}: declares no {missing[0]}; see the group's base")
    return enter


def present_name(group: str, name: str) -> str:
    """The name by which a choice is made now, of a name that a saved config has."""
    if name in GROUPS[group]:
        return name
    return next((name_of(c) for c in classes_of(group) if name == c.RECORDED_AS != ""), name)


def name_of(config: type[Chosen]) -> str:
    """The name by which a config class is chosen.

    Raises:
        GradflowError: it has none.
    """
    name = config.name
    if name == MISSING:
        raise GradflowError(f"{config.__name__}: declares no name; write name: str = choice(...)")
    return name


def classes_of(group: str) -> tuple[type[Chosen], ...]:
    """The config classes of a group."""
    return tuple(choice.config for choice in GROUPS[group].values())


def function_of(config: Chosen) -> Callable[..., Any]:
    """The function that was registered with the class of `config`.

    Raises:
        GradflowError: none was.
    """
    choice = GROUPS[config.GROUP].get(config.name)
    if choice is None or choice.config is not type(config):
        config.refuse("name", f"no function is registered for {type(config).__name__}")
    return choice.function
