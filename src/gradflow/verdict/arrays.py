"""Runs as arrays of errors: what the rules of the verdict are functions of."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from gradflow.core.errors import GradflowError
from gradflow.verdict.outcome import Errors, Floats
from gradflow.verdict.tuning import RATE

TRAIN, TEST = "final_train_error", "final_test_error"
KEYS = ["depth", "twin", "seed"]


class Sweep(NamedTuple):
    """Errors of all runs: (setting, rate, depth, seed), NaN if there is no run, Inf if it
    diverged; and what the places of the axes are.

    settings: a row per setting with the columns that make it. rates: (setting, rate), ascending,
    then NaN if others have more. setting: of each run.
    """

    train: Errors
    test: Errors
    settings: pd.DataFrame
    rates: Floats
    depths: npt.NDArray[np.int_]
    setting: "pd.Series[int]"


def check_columns(frame: pd.DataFrame, columns: list[str], *, may_be_empty: bool = False) -> None:
    """Refuse a frame that lacks columns, or rows."""
    if missing := [name for name in columns if name not in frame.columns]:
        raise GradflowError(f"a verdict needs the columns {', '.join(missing)}")
    if frame.empty and not may_be_empty:
        raise GradflowError("a verdict needs runs; there are none")


def refuse_twice(runs: pd.DataFrame, settings: Sequence[str]) -> None:
    """Refuse two runs of one setting, depth, twin, seed and rate."""
    if (twice := runs.duplicated([*KEYS, RATE, *settings], keep=False)).any():
        row = runs[twice].iloc[0]
        raise GradflowError(
            f"{twice.sum()} runs share depth, twin, seed and learning rate, such as {row.depth}, "
            f"{row.twin}, {row.seed}, {row[RATE]:g}: name the columns in which they differ"
        )


def sweep_of(runs: pd.DataFrame, settings: Sequence[str]) -> Sweep:
    """The arrays of a runs table; settings in the order of their values, a missing value one."""
    by = runs.groupby(list(settings), dropna=False) if settings else None
    setting = pd.Series(0, runs.index) if by is None else by.ngroup()
    order = runs.assign(_place=setting).drop_duplicates("_place").sort_values("_place")
    rate = runs.groupby(setting)[RATE].rank(method="dense").astype(int) - 1
    depth, depths = pd.factorize(runs.depth, sort=True)
    seed, seeds = pd.factorize(runs.seed, sort=True)
    places = (setting.to_numpy(), rate.to_numpy(), depth, seed)
    shape = (len(order), int(rate.max()) + 1, len(depths), len(seeds))
    rates = np.full(shape[:2], np.nan)
    rates[places[0], places[1]] = runs[RATE]
    train = runs[TRAIN].astype(float).to_numpy()
    diverged = ~np.isfinite(train)
    found = []
    for column in (TRAIN, TEST):
        if column not in runs.columns:  # ranks are of the training error alone
            column = TRAIN
        values = np.where(diverged, np.inf, runs[column].astype(float))
        arrays = []
        for twin in Errors._fields:
            of_twin = (runs.twin == twin).to_numpy()
            array = np.full(shape, np.nan)
            array[tuple(place[of_twin] for place in places)] = values[of_twin]
            arrays.append(array)
        found.append(Errors(*arrays))
    return Sweep(found[0], found[1], order[list(settings)], rates, np.asarray(depths), setting)
