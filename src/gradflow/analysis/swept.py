"""What a study swept, known from its runs table alone: its keys, and the settings they make."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from typing import Any

import pandas as pd

from gradflow.analysis.frames import dicts
from gradflow.analysis.settings import config_columns, key_of, levels, value_text, varied_columns
from gradflow.records import SCHEMAS

# He et al. 2015 warm up depth 110 alone: a warm-up belongs to a depth.
TWINS_DIFFER_IN = ("network_depth", "network_skip", "seed", "schedule_warmup_steps")
"""What every figure family shows by itself: a setting is made of all other columns."""


class _EveryKey(tuple[str, ...]):
    """The keys of this process, and as its members those of any plugin too."""

    def __contains__(self, key: object) -> bool:
        return True


EVERY_KEY = _EveryKey(config_columns(pd.DataFrame(columns=SCHEMAS["runs"].names)))
"""What an analysis names as `SWEPT` that shows every key of a study by itself."""

LONGEST = 80  # characters of a setting in a file's name

Setting = Mapping[str, Any]
"""Column of the runs table -> the value that all runs of the setting have."""


def swept_keys(runs: pd.DataFrame) -> list[str]:
    """The fewest columns that tell the settings of a study apart.

    A column that others determine (a network's family determines many of its options) is left
    out; choices of a group and columns that every run has come first.
    """
    names = [name for name in varied_columns(runs) if name not in TWINS_DIFFER_IN]
    names.sort(key=lambda name: (not name.endswith("_name"), bool(runs[name].isna().any())))
    chosen: list[str] = []
    for name in names:
        if _settings(runs, [*chosen, name]) > _settings(runs, chosen):
            chosen.append(name)
    return chosen


def tied_keys(runs: pd.DataFrame) -> list[str]:
    """The columns that differ with the swept keys and have no name of their own in a setting.

    Options of a group whose choice is swept are left out: they are what the choice means.
    """
    chosen = swept_keys(runs)
    groups = tuple(name.removesuffix("name") for name in chosen if name.endswith("_name"))
    names = [name for name in varied_columns(runs) if name not in (*TWINS_DIFFER_IN, *chosen)]
    return [name for name in names if not (groups and name.startswith(groups))]


def _settings(runs: pd.DataFrame, columns: Sequence[str]) -> int:
    return runs.groupby(list(columns), dropna=False).ngroups if columns else 1


def is_numeric(values: pd.Series) -> bool:
    """Whether a key's values are numbers with a distance: no switches, names or nulls."""
    return (
        pd.api.types.is_numeric_dtype(values)
        and not pd.api.types.is_bool_dtype(values)
        and not values.isna().any()
    )


def settings_of(runs: pd.DataFrame, columns: Sequence[str]) -> list[Setting]:
    """The settings of a study by these columns, in the order of their values."""
    if not columns:
        return [{}]
    found = runs[list(columns)].drop_duplicates()
    order = {name: {value_text(v): i for i, v in enumerate(levels(runs[name]))} for name in columns}
    rows = [{name: _plain(row[name]) for name in columns} for row in dicts(found)]
    return sorted(rows, key=lambda row: [order[name][value_text(row[name])] for name in columns])


def of_setting(runs: pd.DataFrame, setting: Setting) -> pd.DataFrame:
    """The runs of a setting."""
    for name, value in setting.items():
        runs = runs[runs[name].isna() if value is None else runs[name] == value]
    return runs


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value
    return None if value is None or value != value else value


@cache
def short_key(column: str) -> str:
    """A column as titles and file names call it: the last part of its key, if no other has it;
    a choice by its group, as on the command line."""
    key = key_of(column)
    group, _, last = key.rpartition(".")
    if last == "name" and group:
        return group
    others = [key_of(name).rpartition(".")[2] for name in SCHEMAS["runs"].names]
    return last if others.count(last) <= 1 else key


def label(setting: Setting) -> str:
    """A setting in words, such as norm=layer, learning_rate=0.1."""
    return ", ".join(f"{short_key(name)}={value_text(value)}" for name, value in setting.items())


def file_part(setting: Setting) -> str:
    """A setting as a part of a file's name: letters, digits and . _ - + alone."""
    if not setting:
        return ""
    text = label(setting)
    safe = "--".join(
        re.sub(r"[^A-Za-z0-9._+-]+", "-", f"{short_key(name)}-{value_text(value)}").strip("-")
        for name, value in setting.items()
    )
    # A value that loses its brackets may equal another, and a name has a longest length.
    lost = len(safe) > LONGEST or any(
        not re.fullmatch(r"[A-Za-z0-9.+_-]*", value_text(value)) for value in setting.values()
    )
    return f"--{safe[:LONGEST]}-{sha256(text.encode()).hexdigest()[:6]}" if lost else f"--{safe}"
