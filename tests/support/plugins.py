"""Plugins of tests: written, loaded, and taken out again."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from gradflow.config import builders, plugins, registry

NORM = '''
import gradflow

@gradflow.register("norm", "halving")
def halving(size, dims):
    """Half of x."""
    from gradflow.networks.layers import Scale

    return Scale(0.5)
'''


@contextmanager
def forgotten() -> Iterator[None]:
    """What is loaded inside is as if it never had been, afterwards."""
    modules, loaded, added = set(sys.modules), dict(plugins._LOADED), len(registry.ADDED)
    try:
        yield
    finally:
        while len(registry.ADDED) > added:
            registry.ADDED.pop().undo()
        builders.builder_of.cache_clear()
        plugins._LOADED.clear()
        plugins._LOADED.update(loaded)
        for name in set(sys.modules) - modules:
            if name.startswith(("gradflow_plugin_", "toy_plugin")):
                del sys.modules[name]
