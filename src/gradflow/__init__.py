"""Gradient flow through plain and residual networks, measured.

gradflow.watch(model, folder)                your own training, measured into a run folder
gradflow.inspect(model, batch, loss)         a network at initialization, in one pass
gradflow.Probes(model)                       the measurements alone, for a loop of your own
gradflow.coordinate_check(make, widths=...)  do its outputs keep their size as it grows
gradflow.read_records(folder, table)         what runs recorded, as a frame
gradflow.read_means(folder, table, ...)      its means by layer, depth, ...: for long tables
gradflow.build_network(family, **options)    a network, plain or residual
gradflow.describe(network, input_shape)      its layers, shapes, parameters
gradflow.register(what, name)                your own norm, block, family, data set, ...: a choice
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gradflow.core.version import __version__

if TYPE_CHECKING:
    from gradflow.config.extending import register
    from gradflow.core.errors import GradflowError
    from gradflow.networks.build import build_network
    from gradflow.networks.describe import describe
    from gradflow.probes import Probes
    from gradflow.records import read_means, read_records
    from gradflow.watching import watch
    from gradflow.watching.coordinates import coordinate_check
    from gradflow.watching.inspection import inspect

__all__ = [
    "GradflowError",
    "Probes",
    "__version__",
    "build_network",
    "coordinate_check",
    "describe",
    "inspect",
    "read_means",
    "read_records",
    "register",
    "watch",
]

_HOMES = {
    "GradflowError": "gradflow.core.errors",
    "Probes": "gradflow.probes",
    "build_network": "gradflow.networks.build",
    "coordinate_check": "gradflow.watching.coordinates",
    "describe": "gradflow.networks.describe",
    "inspect": "gradflow.watching.inspection",
    "read_means": "gradflow.records",
    "read_records": "gradflow.records",
    "register": "gradflow.config.extending",
    "watch": "gradflow.watching",
}


def __dir__() -> list[str]:
    return list(__all__)


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is: records are read without torch."""
    if name not in _HOMES:
        raise AttributeError(f"module gradflow has no attribute {name}")
    try:
        return getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        from gradflow.core.extras import advice

        if line := advice(f"gradflow.{name}", error):
            raise ModuleNotFoundError(line, name=error.name) from error
        raise
