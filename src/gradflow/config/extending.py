"""`gradflow.register`: the door by which a plugin adds a choice of its own."""

from collections.abc import Callable, MutableMapping
from functools import partial
from typing import Any, TypeVar

from gradflow.config.blocks import BLOCKS, PLACEMENTS, SHORTCUTS
from gradflow.config.networks import ACTIVATIONS, INITIALIZATIONS, NORMS, TASKS, Objective
from gradflow.config.registry import ADDED, Added, Chosen, Registry
from gradflow.config.registry import register as register_choice
from gradflow.core.errors import GradflowError, shown

Function = TypeVar("Function", bound=Callable[..., Any])

FUNCTIONS: dict[str, Registry[Any]] = {
    "norm": NORMS,
    "activation": ACTIVATIONS,
    "initialization": INITIALIZATIONS,
    "task": TASKS,
}
"""What is registered as a function, under a name."""

ROWS: dict[str, MutableMapping[str, Any]] = {
    "placement": PLACEMENTS,
    "block": BLOCKS,
    "shortcut": SHORTCUTS,
}
"""What is a row of `gradflow.config.blocks`, which the function returns."""


def register(
    what: type[Chosen] | str, name: str = "", *, draws_noise: bool = False
) -> Callable[[Function], Function]:
    """A decorator: what it decorates becomes a choice like those of the package.

        @gradflow.register("norm", "derf")      network.norm=derf
        def derf(size, dims): ...

        @gradflow.register(GatedConfig)         network=gated, of the class's own name
        def gated(config, image_shape, outputs): ...

    Args:
        what: a config class of a family, data set, optimizer, schedule or diagnostic; or one of
            norm, activation, initialization, task (the function does it) and placement, block,
            shortcut (the function returns the row).
        name: the choice's, if `what` is text.
        draws_noise: of a task: whether it draws from its generator.

    Raises:
        GradflowError: the name is taken or missing; `what` is none of these.
    """
    if isinstance(what, type) and issubclass(what, Chosen):
        return register_choice(what)
    if not isinstance(what, str) or what not in {**FUNCTIONS, **ROWS}:
        valid = ", ".join([*FUNCTIONS, *ROWS])
        raise GradflowError(f"register({shown(what)}): takes a config class, or one of {valid}")
    if not isinstance(name, str) or not name.isidentifier():
        raise GradflowError(f"register({what}, {shown(name)}): needs a name, such as my_{what}")

    def enter(function: Function) -> Function:
        if what in FUNCTIONS:
            made = Objective(function, draws_noise) if what == "task" else function
            FUNCTIONS[what].add(name, made)
        else:
            _add_row(what, name, function)
        return function

    return enter


def _add_row(what: str, name: str, function: Callable[[], Any]) -> None:
    rows = ROWS[what]
    if name in rows:
        raise GradflowError(f"{what}={name}: is registered already; choose another name")
    row = function()
    kind = type(next(iter(rows.values())))
    if not isinstance(row, kind):
        raise GradflowError(f"{what}={name}: is {type(row).__name__}, not {kind.__name__}")
    rows[name] = row
    ADDED.append(Added(function.__module__, partial(rows.pop, name)))
