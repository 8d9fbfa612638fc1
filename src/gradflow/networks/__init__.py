"""Networks as twins: plain and residual differ in one expression.

What is listed here is imported when it is asked for: config reads the families' files, which are
below this package, and knows no torch.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradflow.networks.build import build_network, make_network
    from gradflow.networks.describe import count_macs, count_parameters
    from gradflow.networks.network import Network

__all__ = ["Network", "build_network", "count_macs", "count_parameters", "make_network"]

_HOMES = {
    "Network": "network",
    "build_network": "build",
    "count_macs": "describe",
    "count_parameters": "describe",
    "make_network": "build",
}


def __getattr__(name: str) -> Any:
    """The public name `name`, from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
