"""Runs as arrays of errors: what the rules of the verdict are functions of."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from gradflow.core.errors import GradflowError
from gradflow.verdict.outcome import Errors, Floats
from gradflow.verdict.tuning import RATE

TRAIN, TEST = "final_train_error", "final_test_error"
KEYS = ["depth", "twin", "seed"]


def check_columns(frame: pd.DataFrame, columns: list[str], *, may_be_empty: bool = False) -> None:
    """Refuse a frame that lacks columns, or rows."""
    if missing := [name for name in columns if name not in frame.columns]:
        raise GradflowError(f"a verdict needs the columns {', '.join(missing)}")
    if frame.empty and not may_be_empty:
        raise GradflowError("a verdict needs runs; there are none")


def by_setting(
    runs: pd.DataFrame, settings: Sequence[str]
) -> list[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Values and runs of each combination of the columns `settings`; a missing value is one."""
    if not settings:
        return [((), runs)]
    return [(values, part) for values, part in runs.groupby(list(settings), dropna=False)]


def refuse_twice(runs: pd.DataFrame, settings: Sequence[str]) -> None:
    """Refuse two runs of one setting, depth, twin, seed and rate."""
    if (twice := runs.duplicated([*KEYS, RATE, *settings], keep=False)).any():
        row = runs[twice].iloc[0]
        raise GradflowError(
            f"{twice.sum()} runs share depth, twin, seed and learning rate, such as {row.depth}, "
            f"{row.twin}, {row.seed}, {row[RATE]:g}: name the columns in which they differ"
        )


def padded(arrays: Sequence[Floats]) -> Floats:
    """Arrays (rate, ...) of unequal numbers of rates, stacked; NaN at rates that one lacks."""
    most = max(len(array) for array in arrays)
    shape = (len(arrays), most, *arrays[0].shape[1:])
    found = np.full(shape, np.nan)
    for target, array in zip(found, arrays, strict=True):
        target[: len(array)] = array
    return found


def errors_of(runs: pd.DataFrame, depths: pd.Index, seeds: pd.Index) -> tuple[Errors, Errors]:
    """Training and test errors as arrays (depth, seed): NaN is no run, Inf a diverged one."""
    diverged = ~np.isfinite(runs[TRAIN].astype(float))
    arrays = []
    for column in (TRAIN, TEST):
        values = runs.assign(error=runs[column].astype(float).mask(diverged, np.inf))
        arrays.append(
            [
                values[values.twin == twin]
                .pivot(index="depth", columns="seed", values="error")
                .reindex(index=depths, columns=seeds)
                .to_numpy(dtype=float)
                for twin in Errors._fields
            ]
        )
    train, test = arrays
    return Errors(*train), Errors(*test)
