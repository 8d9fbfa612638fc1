"""Every config key as a row, from the config classes: for --help and the reference page."""

from collections.abc import Iterator
from dataclasses import Field, fields
from types import NoneType
from typing import Any, NamedTuple, get_args, get_type_hints

import yaml

from gradflow.config.acceptance import AcceptanceConfig
from gradflow.config.conf_folder import CONF
from gradflow.config.meanings import MEANINGS
from gradflow.config.registry import GROUPS
from gradflow.config.run import DescribeConfig, DiagnoseConfig, RunConfig
from gradflow.config.validation import MISSING, Checked, choices_of

ROOTS: dict[str, type] = {
    "run": RunConfig,
    "describe": DescribeConfig,
    "diagnose": DiagnoseConfig,
    "acceptance": AcceptanceConfig,
}
"""Name of a file of conf/ -> the class of its config."""

TAKES = {"acceptance": {"data": ("cifar10",)}}
"""File of conf/ -> group -> the choices that its command takes, if not all."""

KINDS = {int: "whole number", float: "number", bool: "true or false", str: "text"}


class Key(NamedTuple):
    """A key of the command line.

    group: that it is a key of; "": none. name: without the group. choices: of the group, those
    that have it. default: as typed. valid: its type, range or values. meaning: in a line.
    """

    group: str
    name: str
    choices: tuple[str, ...]
    default: str
    valid: str
    meaning: str

    @property
    def full_name(self) -> str:
        """As it is typed."""
        return f"{self.group}.{self.name}" if self.group else self.name


def default_choices(config: str) -> dict[str, str]:
    """Group -> the choice that a command makes of it, for a file of conf/."""
    found: dict[str, str] = {}
    for entry in _values(f"{config}.yaml").get("defaults", ()):
        if isinstance(entry, dict):
            [(group, name)] = entry.items()
            if group in GROUPS:
                found[group] = name
    return found


def keys_of(config: str) -> list[Key]:
    """The keys of a file of conf/: its own, then those of its groups, the default choice's first.

    Args:
        config: a key of `ROOTS`.
    """
    root = ROOTS[config]
    given = _values(f"{config}.yaml")
    keys: list[Key] = []
    parts: list[Key] = []
    groups = []
    for entry in fields(root):
        hint = get_type_hints(root)[entry.name]
        if entry.name in GROUPS:
            groups.append(entry.name)
        elif isinstance(hint, type) and issubclass(hint, Checked):
            parts += _keys(entry.name, hint, given.get(entry.name) or {})
        else:
            keys += _keys("", root, given, only=entry.name)
    keys += parts
    for group in groups:
        default = default_choices(config).get(group, "")
        taken = [name for name in choices(config, group) if name in GROUPS[group]]
        names = sorted(taken, key=lambda name: name != default)
        keys += _of_group(group, names, given.get(group) or {})
    return keys


def choices(config: str, group: str) -> tuple[str, ...]:
    """The choices of a group that a command takes: classes, and files that set values of one."""
    files = {path.stem for path in (CONF / group).glob("*.yaml")}
    return TAKES.get(config, {}).get(group, tuple(sorted(files | set(GROUPS[group]))))


def _of_group(group: str, names: list[str], given: dict[str, Any]) -> list[Key]:
    """Each key once, with the choices that have it and the default of the first of these.

    Args:
        names: of the choices, the default first.
        given: the values that the command's own file sets for it.
    """
    found: dict[str, list[tuple[str, Key]]] = {}
    for name in names:
        values = {**_values(f"{group}/{name}.yaml"), **(given if name == names[0] else {})}
        for key in _keys(group, GROUPS[group][name].config, values):
            if key.name != "name":
                found.setdefault(key.name, []).append((name, key))
    return [_merged(rows) for rows in found.values()]


def _merged(rows: list[tuple[str, Key]]) -> Key:
    first = rows[0][1]
    valid = first.valid
    if any(key.valid != valid for _, key in rows) and ", " in valid:
        valid = ", ".join(dict.fromkeys(word for _, key in rows for word in key.valid.split(", ")))
    return first._replace(choices=tuple(name for name, _ in rows), valid=valid)


def _keys(group: str, cls: type, given: dict[str, Any], only: str | None = None) -> Iterator[Key]:
    hints = get_type_hints(cls)
    for entry in fields(cls):
        if only not in (None, entry.name):
            continue
        value = given.get(entry.name, entry.default)
        meaning = MEANINGS[group].get(entry.name, "")
        yield Key(group, entry.name, (), _typed(value), _valid(entry, hints[entry.name]), meaning)


def _typed(value: Any) -> str:
    """A value as the command line takes it."""
    if value == MISSING:
        return ""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_typed, value))}]"
    if isinstance(value, dict) or not isinstance(value, int | float | str):
        return "{}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _valid(entry: Field[Any], hint: Any) -> str:
    kinds = get_args(hint) if NoneType in get_args(hint) else (hint,)
    null = " or null" if NoneType in kinds else ""
    if "choices" in entry.metadata:
        return ", ".join(choices_of(entry)) + null
    [kind] = [kind for kind in kinds if kind is not NoneType]
    bounds = entry.metadata.get("bounds", {})
    within = "".join(f" {sign} {bound:g}," for sign, bound in bounds.items() if abs(bound) < 1e9)
    named = KINDS.get(kind) or ("list" if "tuple" in str(kind) else "mapping")
    return named + within.rstrip(",") + null


def _values(file: str) -> dict[str, Any]:
    path = CONF / file
    found = yaml.safe_load(path.read_text()) if path.exists() else None
    return found if isinstance(found, dict) else {}
