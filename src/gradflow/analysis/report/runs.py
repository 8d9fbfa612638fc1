"""Every run of a study as a row of the page's table, which a reader sorts, filters and draws."""

from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from gradflow.analysis.frames import dicts
from gradflow.analysis.settings import key_of, value_text, varied_columns
from gradflow.analysis.study import at
from gradflow.config.run_id import TWINS
from gradflow.core.errors import GradflowError
from gradflow.records import ended_runs, read_records
from gradflow.records.damage import damage_of
from gradflow.verdict.gradient import end_to_end

PAGE = "report.html"  # of a run, in its folder, if it was made
FIRST = ("network_name", "network_depth", "network_skip", "seed")
BLOCKS = ["run_id", "step", "block_index", "input_grad_norm"]


def table_of_runs(folder: Path, states: pd.DataFrame) -> dict[str, Any]:
    """The table: columns (key, label, kind, axis), rows (id, state, page, cells), and x, y.

    Columns are what was swept, then status, errors, end-to-end ratios, seconds and the id. `axis`:
    a plot may have it as an axis; x, y: the columns of its first view.
    """
    runs = ended_runs(folder)
    varied = varied_columns(runs)
    swept = [*FIRST[1:3], *(name for name in varied if name not in FIRST[1:]), "seed"]
    kept = runs[["run_id", *swept, "final_train_error", "final_test_error"]]
    whole = states.drop(columns=[name for name in swept if name in states.columns])
    whole = whole.merge(kept, on="run_id", how="left").merge(
        ratios(folder, runs), on="run_id", how="left"
    )
    columns = [_swept(name, runs[name], text) for name, text in labels(swept).items()]
    columns += [
        _column("state", "state", axis=False),
        _column("steps_done", "steps done", "number"),
        _column("train", "training error %", "number"),
        _column("test", "test error %", "number"),
        _column("first", "end-to-end ratio, first step", "number"),
        _column("last", "end-to-end ratio, last", "number"),
        _column("seconds", "seconds", "number"),
        _column("id", "run", axis=False),
    ]
    rows = [_row(folder, run, columns) for run in dicts(whole)]
    numbers = [i for i, column in enumerate(columns) if column["axis"]]
    keys = [column["key"] for column in columns]
    asked = [i for i in numbers if keys[i] in varied]
    own = [i for i in asked if keys[i] not in FIRST]
    return {
        "columns": columns,
        "rows": rows,
        "x": next(iter([*own, *asked, *numbers])),  # what was swept besides depth, else depth
        "y": keys.index("train"),
    }


def ratios(folder: Path, runs: pd.DataFrame) -> pd.DataFrame:
    """run_id, first, last: the end-to-end ratio at the first and the last measured step, of the
    runs whose records are whole."""
    where: dict[str, Any] = {"run_id": [r for r in runs.run_id if not damage_of(folder / r)]}
    try:
        heads = read_records(
            folder, "blocks", columns=BLOCKS[:2], where={**where, "block_index": 0}
        )
        moments = heads.groupby("run_id")["step"].agg(["min", "max"])
        steps = sorted({int(step) for step in moments.to_numpy().ravel()})
        blocks = read_records(folder, "blocks", columns=BLOCKS, where={**where, "step": steps})
    except GradflowError:  # a study without probes
        return pd.DataFrame({"run_id": [], "first": [], "last": []}).astype({"run_id": "object"})
    found = end_to_end(blocks.assign(depth=0, twin="", seed=0))
    first, last = (at(found, moment).set_index("run_id").ratio for moment in ("first", "last"))
    return pd.DataFrame({"first": first, "last": last}).reset_index()


def _column(key: str, label: str, kind: str = "text", *, axis: bool = True) -> dict[str, Any]:
    return {"key": key, "label": label, "kind": kind, "axis": axis}


def labels(names: list[str]) -> dict[str, str]:
    """Columns of the runs table as a reader sees them: without their group, if that is enough."""
    own = {"network_name": "family", "network_skip": "network"}
    found = {}
    for name in names:
        group, _, key = key_of(name).rpartition(".")
        found[name] = own.get(name) or (group if key == "name" else key)
    several = [text for text, n in Counter(found.values()).items() if n > 1]
    texts = {name: key_of(name) if text in several else text for name, text in found.items()}
    return {name: text.replace("_", " ").replace(".", " ") for name, text in texts.items()}


def _swept(name: str, values: "pd.Series[Any]", label: str) -> dict[str, Any]:
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    return _column(name, label, "number" if numeric else "text")


def _row(folder: Path, run: dict[str, Any], columns: list[dict[str, Any]]) -> dict[str, Any]:
    page = folder / run["run_id"] / PAGE
    texts = {
        "state": run["state"],
        "steps_done": f"{run['steps_done']:.0f}",
        "train": _number(100 * run["final_train_error"]),
        "test": _number(100 * run["final_test_error"]),
        "first": _ratio(run["first"]),
        "last": _ratio(run["last"]),
        "seconds": _number(run["seconds"]),
        "id": run["run_id"],
        "network_skip": TWINS.get(run["network_skip"], "-"),
    }
    cells = [
        texts.get(column["key"]) or _value(run[column["key"]], run["state"]) for column in columns
    ]
    link = f"./{quote(run['run_id'])}/{PAGE}" if page.exists() else ""
    return {"id": run["run_id"], "state": run["state"], "page": link, "cells": cells}


def _value(value: Any, state: str) -> str:
    text = value_text(value)
    return "-" if text == "null" and state in ("missing", "running") else text


def _number(value: float) -> str:
    return "-" if pd.isna(value) else f"{value:.1f}"


def _ratio(value: float) -> str:
    return "-" if pd.isna(value) else f"{value:.2g}"
