"""Gradient flow through plain and residual networks, measured.

gradflow.build_network(family, **options)    a network, plain or residual
gradflow.describe(network, input_shape)      its layers, shapes, parameters
gradflow.register(what, name)                your own norm, block, family, data set, ...: a choice
gradflow.watch(model, folder)                your own training, measured into a run folder
gradflow.inspect(model, batch, loss)         a network at initialization, in one pass
gradflow.coordinate_check(make, widths=...)  do its outputs keep their size as it grows
gradflow.read_records(folder, table)         what runs recorded, as a frame
gradflow.read_means(folder, table, ...)      its means by layer, depth, ...: for long tables
"""

from typing import Any

__all__ = [
    "build_network",
    "coordinate_check",
    "describe",
    "inspect",
    "read_means",
    "read_records",
    "register",
    "watch",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is: records are read without torch."""
    if name in ("read_means", "read_records"):
        from gradflow import records

        return getattr(records, name)
    if name == "build_network":
        from gradflow.networks.build import build_network

        return build_network
    if name == "register":
        from gradflow.config.extending import register

        return register
    if name == "describe":
        from gradflow.networks.describe import describe

        return describe
    if name == "watch":
        from gradflow.watching import watch

        return watch
    if name == "inspect":
        from gradflow.watching.inspection import inspect

        return inspect
    if name == "coordinate_check":
        from gradflow.watching.coordinates import coordinate_check

        return coordinate_check
    if name == "__version__":
        from importlib.metadata import version

        return version("gradflow")
    raise AttributeError(f"module gradflow has no attribute {name}")
