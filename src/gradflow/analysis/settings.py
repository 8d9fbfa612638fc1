"""Provenance of a study: its question, commands, settings and versions."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gradflow.config.conf_folder import COMMANDS, STUDIES
from gradflow.config.registry import GROUPS
from gradflow.config.run import RunConfig
from gradflow.config.run_id import NOT_IDENTITY
from gradflow.core.errors import GradflowError
from gradflow.records import SCHEMAS, read_records

NOT_RECORDED = "not recorded"
OUTCOMES = (
    "run_id",
    "status",
    "n_parameters",
    "macs",
    "final_train_error",
    "final_test_error",
    "final_train_loss",
    "steps_done",
    "diverged_at",
    "code_version",
    "torch_version",
)
"""The columns of the runs table that are no values of the config."""


def question(name: str) -> str:
    """The comment that a study's file in conf/study begins with, up to its first command, which is
    indented; empty for a sweep without a file."""
    path = STUDIES / f"{name}.yaml"
    if not path.exists():
        return ""
    lines = path.read_text().splitlines()
    found = []
    for line in lines[1:]:  # the first line places the file: # @package _global_
        if not line.startswith("#") or line.startswith("#  "):
            break
        found.append(line.removeprefix("#").strip())
    return " ".join(found)


def commands(folder: Path) -> list[str]:
    """The commands that made a study; if none was kept, that of its file, or none."""
    kept = folder / COMMANDS
    if kept.exists():
        return kept.read_text(errors="replace").splitlines()
    if (STUDIES / f"{folder.name}.yaml").exists():
        return [f"gradflow train study={folder.name}"]
    return []


def key_of(column: str) -> str:
    """A column of the runs table as the key of the command line: network.depth."""
    names = [entry.name for entry in fields(RunConfig)]
    if column in names:
        return column
    group = next((name for name in names if column.startswith(f"{name}_")), None)
    return column if group is None else f"{group}.{column.removeprefix(f'{group}_')}"


def value_text(value: Any) -> str:
    """A config's value as it is typed on the command line."""
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def config_columns(runs: pd.DataFrame) -> list[str]:
    """The columns of the runs table that are values of the config.

    The options of plugins come last: this process has not imported them.
    """
    left_out = {*OUTCOMES, *NOT_IDENTITY, "data_fingerprint"}
    known = SCHEMAS["runs"].names
    own = [name for name in known if name in runs.columns and name not in left_out]
    groups = tuple(f"{group}_" for group in GROUPS)
    return own + [n for n in runs.columns if n.startswith(groups) and n not in (*known, *left_out)]


def varied_columns(runs: pd.DataFrame) -> list[str]:
    """Those of the config's columns that differ between runs."""
    return [name for name in config_columns(runs) if runs[name].nunique(dropna=False) > 1]


def settings(runs: pd.DataFrame) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Keys and values: those that differ between the runs, and those that all have."""
    varied = varied_columns(runs)
    fixed = [name for name in config_columns(runs) if name not in varied]
    texts = {name: [value_text(v) for v in levels(runs[name])] for name in (*varied, *fixed)}
    return (
        [(key_of(name), ", ".join(texts[name])) for name in varied],
        # A null is a key that the chosen network, optimizer, ... does not have.
        [(key_of(name), texts[name][0]) for name in fixed if texts[name] != ["null"]],
    )


def versions(folder: Path, runs: pd.DataFrame) -> list[tuple[str, str]]:
    """Label and value of the code, libraries and machines that made the runs."""
    columns = {
        "code_version": "gradflow",
        "git_commit": "git commit",
        "torch_version": "PyTorch",
        "python_version": "Python",
        "machine": "machine",
        "instruction_set": "instruction set",
        "host": "host",
        "resumed_from": "resumed from",
    }
    share = "recording_share"
    try:
        names = ["run_id", *columns, share]
        where = {"run_id": list(runs.run_id)}
        attempts = read_records(folder, "attempts", columns=names, where=where)
    except GradflowError:  # records that were copied without them
        attempts = pd.DataFrame(columns=["run_id", *columns, share])
    attempts = attempts[attempts["run_id"].isin(runs["run_id"])]
    found = {name: sorted(attempts[name].dropna().unique()) for name in columns}
    found |= {name: sorted(runs[name].unique()) for name in ("code_version", "torch_version")}
    rows = [(label, ", ".join(found[name]) or NOT_RECORDED) for name, label in columns.items()]
    rows = [row for row in rows if row != ("resumed from", NOT_RECORDED)]
    shares = 100 * attempts[share].dropna().astype(float)
    if len(shares):
        text = f"{shares.median():.0f} % (median; at most {shares.max():.0f} %)"
        rows.append(("training time spent measuring", text))
    return rows


def levels(values: pd.Series) -> list[Any]:
    """The distinct values of a column in their order, null last."""
    found = pd.factorize(values, sort=True, use_na_sentinel=False)[1]
    return [value.item() if hasattr(value, "item") else value for value in found]


def codes(values: pd.Series) -> npt.NDArray[np.intp]:
    """The place of each value among `levels`."""
    return pd.factorize(values, sort=True, use_na_sentinel=False)[0]
