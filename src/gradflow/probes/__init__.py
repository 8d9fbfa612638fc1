"""Measurements of any network, from outside; they change nothing and leave nothing behind."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradflow.probes.details import BIN_EDGES, between_examples
    from gradflow.probes.measurement import Measurement
    from gradflow.probes.norms import total_norm
    from gradflow.probes.probes import Probes
    from gradflow.probes.schedule import fires

__all__ = ["BIN_EDGES", "Measurement", "Probes", "between_examples", "fires", "total_norm"]

_HOME = {
    "BIN_EDGES": "details",
    "Measurement": "measurement",
    "Probes": "probes",
    "between_examples": "details",
    "fires": "schedule",
    "total_norm": "norms",
}


def __getattr__(name: str) -> Any:
    """Load torch only when it is used: the records read `probes.quantities` without it."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
