"""`network.builder=module:function`: what the function is, what it takes, and what it reads."""

import ast
import dis
import inspect
import textwrap
from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any, NamedTuple

from gradflow.config.plugins import code_of, full_name, import_code
from gradflow.core.errors import GradflowError, shown


class Builder(NamedTuple):
    """A function of the user's.

    name: its code and its own name, such as nets.py+1f2e3d4c:wide: what a run's identity has.
    parameters: name -> whether it has to be given.
    takes_any: whether it has **options.
    unread: parameters that it takes and never reads.
    read: what it reads of its **options; None: it does something else with them, such as to pass
        them on, so that nobody knows.
    """

    function: Callable[..., Any]
    name: str
    parameters: Mapping[str, bool]
    takes_any: bool
    unread: Collection[str]
    read: Collection[str] | None

    def takes(self, name: str) -> bool:
        """Whether a parameter of that name may be given."""
        return self.takes_any or name in self.parameters


def full_builder(text: str) -> str:
    """As a config keeps it: the path of a file is absolute."""
    place, colon, name = text.rpartition(":")
    return f"{full_name(place)}{colon}{name}"


@cache
def builder_of(text: str, key: str) -> Builder:
    """The function that `text` names: package.module:function, or path/to/file.py:function.

    Args:
        key: of the config, for messages.

    Raises:
        GradflowError: it is not written so; the module cannot be imported; it has no such function.
    """
    place, _, name = text.rpartition(":")
    if not place or not name:
        raise GradflowError(f"{key}={shown(text)}: must be module:function or file.py:function")
    module = import_code(place, f"{key}={shown(text, 300)}")
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        raise GradflowError(f"{key}={shown(text, 300)}: the module has no function {shown(name)}")
    try:
        given = inspect.signature(found).parameters.values()
    except (TypeError, ValueError) as error:
        raise GradflowError(f"{key}={shown(text, 300)}: its parameters are not known") from error
    return Builder(
        found,
        f"{code_of(place, module)}:{name}",
        {
            p.name: p.default is p.empty
            for p in given
            if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        },
        any(p.kind is p.VAR_KEYWORD for p in given),
        _unread(found, [p.name for p in given]),
        next((_read(found, p.name) for p in given if p.kind is p.VAR_KEYWORD), None),
    )


def _unread(function: Any, parameters: list[str]) -> set[str]:
    """Those that the function's own code never loads; none if it is not Python's."""
    made = function.__init__ if inspect.isclass(function) else function
    code = getattr(inspect.unwrap(made), "__code__", None)
    if code is None or "locals" in code.co_names:
        return set()
    read = set(code.co_cellvars)
    for instruction in dis.get_instructions(code):
        if instruction.opname.startswith("LOAD"):
            loaded = instruction.argval
            read.update(loaded if isinstance(loaded, tuple) else [loaded])
    return {name for name in parameters if name in code.co_varnames and name not in read}


def _read(function: Any, options: str) -> set[str] | None:
    """The keys that the source reads of its **options by name: options["a"], options.get("a"),
    options.pop("a"), "a" in options. None if there is any other use of them, or no source."""
    made = function.__init__ if inspect.isclass(function) else function
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(made))))
    except (OSError, TypeError, SyntaxError):
        return None
    uses = sum(isinstance(node, ast.Name) and node.id == options for node in ast.walk(tree))
    keys = []
    for node in ast.walk(tree):
        match node:
            case (
                ast.Subscript(value=ast.Name(id=name), slice=ast.Constant(value=str(key)))
                | ast.Call(
                    func=ast.Attribute(value=ast.Name(id=name), attr="get" | "pop"),
                    args=[ast.Constant(value=str(key)), *_],
                )
                | ast.Compare(
                    left=ast.Constant(value=str(key)),
                    ops=[ast.In() | ast.NotIn()],
                    comparators=[ast.Name(id=name)],
                )
            ) if name == options:
                keys.append(key)
    return set(keys) if len(keys) == uses else None
