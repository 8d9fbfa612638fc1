"""Plugins: the user's own files and modules that register choices, imported because a user named
them and for no other reason.

A plugin is named by a path (`plugins=[my/norms.py]`), by a module (`plugins=[package.module]`), or
by the name under which an installed package declares a module in the entry-point group
`gradflow.plugins`. It is imported once per process: by a command before its config is composed, by
a `RunConfig` that names it, and by a worker before it unpickles a config.
"""

import hashlib
import importlib
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import entry_points, packages_distributions, version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from gradflow.config.registry import ADDED
from gradflow.core.errors import GradflowError, shown
from gradflow.core.provenance import hash_of

ENTRY_POINTS = "gradflow.plugins"
"""The group in which an installed package declares its plugins."""


class Plugin(NamedTuple):
    """A plugin that has been imported.

    code: its name and a hash of its code, such as derf.py+1f2e3d4c (of an installed package, its
        version): what a run's identity has of it. Comments, docstrings and the folder it lies in
        do not count, nor does what it imports from elsewhere.
    """

    module: ModuleType
    code: str


_LOADED: dict[str, Plugin] = {}


def full_name(name: str) -> str:
    """A plugin as a config keeps it: a path is absolute, so that it holds in any folder."""
    return str(Path(name).expanduser().resolve()) if name.endswith(".py") else name


def load_plugins(names: Iterable[str]) -> list[Plugin]:
    """Import plugins that have not been imported yet, in order.

    Raises:
        GradflowError: one is not there, cannot be imported, registers nothing, or registers a name
            that is taken. What it had registered by then is taken out again.
    """
    return [_load(full_name(name)) for name in names]


def codes_of(names: Sequence[str]) -> list[str]:
    """Name and hash of each plugin, sorted: what a run's identity has of them.

    Raises:
        GradflowError: as `load_plugins`.
    """
    return sorted({plugin.code for plugin in load_plugins(names)})


def _load(name: str) -> Plugin:
    if name in _LOADED:
        return _LOADED[name]
    before = len(ADDED)
    try:
        module = import_code(name, f"plugins={shown(name, 300)}")
        if len(ADDED) == before and not _registered_by(module):
            raise GradflowError(
                f"plugins={shown(name, 300)}: registers nothing; write @gradflow.register(...) "
                "above what it adds"
            )
    except GradflowError:
        while len(ADDED) > before:
            ADDED.pop().undo()
        raise
    _LOADED[name] = Plugin(module, code_of(name, module))
    return _LOADED[name]


def _registered_by(module: ModuleType) -> bool:
    """Whether a module that somebody imported before has registered something then."""
    return any(f"{added.module}.".startswith(f"{module.__name__}.") for added in ADDED)


def import_code(name: str, key: str) -> ModuleType:
    """The module of a file, if `name` ends in .py, or of an entry point, or by its dotted name.

    Args:
        key: as which the user named it, for messages.

    Raises:
        GradflowError: it is not there, or its import raises.
    """
    try:
        if name.endswith(".py"):
            return _import_file(Path(full_name(name)), key)
        declared = [point.module for point in entry_points(group=ENTRY_POINTS, name=name)]
        return importlib.import_module(declared[0] if declared else name)
    except GradflowError as error:
        raise GradflowError(f"{key}: {error}") from error
    except (Exception, SystemExit) as error:
        line = " ".join(str(error).split())
        raise GradflowError(
            f"{key}: cannot be imported ({type(error).__name__}: {shown(line, 200)})"
        ) from error


def _import_file(path: Path, key: str) -> ModuleType:
    """A file as a module whose name says where it lies, so that each process has the same."""
    where = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    name = f"gradflow_plugin_{path.stem}_{where}"
    if name in sys.modules:
        return sys.modules[name]
    if not path.is_file():
        raise GradflowError("no such file")
    spec = spec_from_file_location(name, path)
    assert spec is not None  # its name ends in .py
    assert spec.loader is not None
    module = sys.modules[name] = module_from_spec(spec)  # a dataclass looks its module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def code_of(name: str, module: ModuleType) -> str:
    """A module's name for people with a hash of its code, of a package that of all its files; of
    an installed package with its version."""
    path = Path(module.__file__ or "")
    if not {"site-packages", "dist-packages"}.isdisjoint(path.parts):
        top = module.__name__.partition(".")[0]
        for distribution in packages_distributions().get(top, ()):
            return f"{module.__name__}=={version(distribution)}"
    files = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
    return f"{path.name if name.endswith('.py') else module.__name__}+{hash_of(files)}"
