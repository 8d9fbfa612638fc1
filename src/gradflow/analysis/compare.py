"""Where two watched runs part: by layer name, which layer or group departs first, and when.

gradflow compare runs/a runs/b
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gradflow.analysis.tables import Cell, Table
from gradflow.analysis.watched import load_run
from gradflow.core.command_line import CommandLine
from gradflow.core.door import folder_of, one_line
from gradflow.core.errors import GradflowError, shown

FACTOR = 3.0
LASTING = 2  # measured steps in a row
QUANTITIES = {"grad_norm": "gradient", "relative_update": "update ratio"}
TINY = 1e-300


class Departure(NamedTuple):
    """The first lasting difference of a layer or group."""

    step: int
    quantity: str
    factor: float


class Comparison(NamedTuple):
    """Two runs beside each other.

    Attributes:
        text: in plain words.
        layers, groups: a row per layer, or group of layers, that departs, the first on top.
    """

    text: str
    layers: pd.DataFrame
    groups: pd.DataFrame


def compare(a: str | Path, b: str | Path, factor: float = FACTOR) -> Comparison:
    """Two watched runs, aligned by the names of their layers and by measured steps.

    A layer departs at the first of two measured steps in a row at which its gradient norm, or
    update-to-weight ratio, is `factor` times that of the other run or more, either way; so does
    one that is not finite in one run alone. A group (`blocks.3`: all layers whose name begins so)
    departs by the geometric mean of its layers' ratios.

    Raises:
        GradflowError: the runs have no layer or no measured step in common, or the factor is no
            number above 1.
    """
    if not isinstance(factor, int | float) or isinstance(factor, bool) or not factor > 1:
        raise GradflowError(f"factor={shown(factor)}: must be a number > 1")
    runs = [load_run(folder) for folder in (a, b)]
    merged = runs[0].layers.merge(runs[1].layers, on=["step", "layer_name"], suffixes=("_a", "_b"))
    if merged.empty:
        raise GradflowError(f"{a}, {b}: no layer is measured at the same step in both")
    merged["group"] = merged.layer_name.map(group_of)
    ratios = {q: _log_ratio(merged, q) for q in QUANTITIES}
    long = pd.concat(
        merged[["step", "layer_name", "group", "layer_index_a"]].assign(quantity=q, log=r)
        for q, r in ratios.items()
    )
    layers = _departures(long, "layer_name", np.log(factor))
    means = long.groupby(["group", "step", "quantity"], as_index=False).agg(
        log=("log", "mean"), layer_index_a=("layer_index_a", "min")
    )
    groups = _departures(means, "group", np.log(factor))
    names = [set(run.layers.layer_name) for run in runs]
    alone = [sorted(names[i] - names[1 - i]) for i in (0, 1)]
    text = _words(runs[0].name, runs[1].name, layers, groups, long, factor)
    for run, only in zip(runs, alone, strict=True):
        if only:
            more = ", ..." if len(only) > 3 else ""
            text += f"\nOnly in {run.name}: {', '.join(only[:3])}{more}"
    return Comparison(text, layers, groups)


def group_of(name: str) -> str:
    """A layer's name up to its first number: blocks.3 of blocks.3.mlp.up; else its first part."""
    found = re.match(r"(?:[^.]+\.)*?\d+(?=\.|$)", name)
    return found.group() if found else name.partition(".")[0]


def _log_ratio(merged: pd.DataFrame, quantity: str) -> pd.Series:
    """log b / a; +-inf if one alone is not finite or 0, NaN if neither has a number."""
    a, b = (merged[f"{quantity}_{side}"].to_numpy(float) for side in "ab")
    wrong_a, wrong_b = ~np.isfinite(a), ~np.isfinite(b)
    absent = np.zeros(len(merged), bool)
    for side in "ab":
        absent |= (merged[f"grad_state_{side}"] == "none").to_numpy()
    if quantity == "relative_update":  # null where nothing was measured; that is no difference
        absent |= np.isnan(a) | np.isnan(b)
    with np.errstate(divide="ignore", invalid="ignore"):
        log = np.log(np.maximum(b, TINY)) - np.log(np.maximum(a, TINY))
    log = np.where(wrong_a & ~wrong_b, -np.inf, np.where(wrong_b & ~wrong_a, np.inf, log))
    log = np.where(wrong_a & wrong_b, 0.0, log)
    return pd.Series(np.where(absent, np.nan, log), merged.index)


def _departures(rows: pd.DataFrame, key: str, least: float) -> pd.DataFrame:
    """The first lasting difference of each place, the earliest first, then the largest."""
    found: list[dict[str, Any]] = []
    for (place, quantity), line in rows.sort_values("step").groupby([key, "quantity"]):
        log = line["log"].to_numpy(float)
        beyond = np.abs(np.nan_to_num(log, nan=0.0, posinf=np.inf, neginf=-np.inf)) >= least
        lasting = beyond.copy()
        for shift in range(1, LASTING):
            lasting[:-shift] &= beyond[shift:]
            lasting[-shift:] = beyond[-shift:] & np.isinf(log[-shift:])
        if lasting.any():
            at = int(lasting.argmax())
            found.append(
                {
                    key: place,
                    "step": int(line.step.iloc[at]),
                    "quantity": QUANTITIES[str(quantity)],
                    "factor": float(np.exp(log[at])),
                    "size": float(abs(log[at])),
                    "index": int(line.layer_index_a.iloc[0]),
                }
            )
    columns = [key, "step", "quantity", "factor", "size", "index"]
    frame = pd.DataFrame(found, columns=columns)
    frame = frame.sort_values(["step", "size"], ascending=[True, False], kind="stable")
    return frame.drop_duplicates(key).drop(columns="size").reset_index(drop=True)


def _words(
    a: str, b: str, layers: pd.DataFrame, groups: pd.DataFrame, long: pd.DataFrame, factor: float
) -> str:
    steps = np.sort(long.step.unique())
    differing = long[long["log"].fillna(0) != 0].step
    if differing.empty:
        return f"{a} and {b} are equal at all {len(steps)} measured steps, to the last bit."
    same = f"They first differ at step {int(differing.min())}"
    if layers.empty:
        largest = float(np.exp(np.abs(long["log"].replace([np.inf, -np.inf], np.nan)).max()))
        return (
            f"{same}. No layer of {b} departs from {a}: within a factor {factor:g} at all of "
            f"{len(steps)} measured steps in common, up to {largest:.2g} at single ones."
        )
    first = layers.iloc[0]
    text = (
        f"{same}. {first.layer_name} departs first, at step {first.step}: its {first.quantity} "
        f"in {b} is {_times(first.factor)} that in {a}."
    )
    if len(groups):
        group = groups.iloc[0]
        text += (
            f" Of the groups it is {group.group}, at step {group.step} "
            f"({group.quantity}, {_times(group.factor)})."
        )
    total = long.layer_name.nunique()
    return f"{text} {len(layers)} of {total} layers depart by a factor {factor:g} or more."


def _times(factor: float) -> str:
    if np.isinf(factor) or factor == 0:
        return "not finite, or 0, beside" if np.isinf(factor) else "0 or lost beside"
    return f"{factor:.3g} times"


def table_of(departures: pd.DataFrame, most: int = 12) -> Table:
    """The first departures as a table."""
    key = departures.columns[0]
    rows: list[dict[str, Cell]] = [
        {
            key.replace("_", " "): str(row[key]),
            "departs at step": int(row["step"]),
            "by": str(row["quantity"]),
            "factor": float(row["factor"]),
        }
        for _, row in departures.head(most).iterrows()
    ]
    return Table(rows, {"factor": ".3g"})


@one_line()
def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = CommandLine(__doc__, prog="gradflow compare")
    parser.add_argument("a", type=folder_of, help="a watched run's folder")
    parser.add_argument("b", type=folder_of, help="another's")
    parser.add_argument("--factor", type=float, default=FACTOR, help="that counts as a departure")
    given = parser.parse_args(arguments)
    found = compare(given.a, given.b, given.factor)
    print(found.text)
    for departures in (found.groups, found.layers):
        if len(departures):
            print(f"\n{table_of(departures)}")
