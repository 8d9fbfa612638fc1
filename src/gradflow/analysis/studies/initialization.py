"""Which initializations and branch scales train without a norm? Error and gradient by depth.

python analysis/initialization.py outputs/initialization
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh

from gradflow.analysis.figures import plots, style
from gradflow.analysis.frames import groups
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.tables import Cell, Table, error_cell
from gradflow.verdict.gradient import end_to_end

SWEPT = ("network_norm", "network_initialization", "network_scaling", "network_zero_last")
# Config values by the names that papers use.
SCALINGS = {"inverse_sqrt": "branch / sqrt(L)", "inverse": "branch / L", "rezero": "SkipInit"}
INITIALIZATIONS = {
    "he_fan_in": "He",
    "he_fan_out": "He, fan-out",
    "looks_linear": "looks-linear",
    "delta_orthogonal": "delta-orthogonal",
    "fixup": "Fixup",
}
DECADES = 8  # either way, that the colors of the gradient's ratio span


def analyze(output: Output) -> None:
    """The figure and the table of a study."""
    runs = output.study.runs
    runs = runs.assign(remedy=runs.apply(remedy_of, axis=1), error=100 * runs.final_train_error)
    columns = ["step", "block_index", "input_grad_norm"]
    ratios = end_to_end(output.study.records("blocks", columns, step=0))
    runs = runs.merge(ratios[["run_id", "ratio", "is_bound"]], on="run_id", how="left")
    output.add_table("initialization", error_table(runs))
    draw(output, runs)


def remedy_of(run: "pd.Series[Any]") -> str:
    """A run's remedy for depth, in the words of papers: its norm, if it has one."""
    if run.network_norm != "none":
        return f"{run.network_norm} norm"
    if run.network_zero_last:
        return "last layer 0"
    if run.network_scaling in SCALINGS:
        return SCALINGS[run.network_scaling]
    kind = str(run.network_initialization)
    return INITIALIZATIONS.get(kind, kind)


def error_table(runs: pd.DataFrame) -> Table:
    """Training error by network, remedy and depth, with 95 % intervals."""
    rows: list[dict[str, Cell]] = []
    for (twin, remedy), group in groups(runs, ["twin", "remedy"]):
        row: dict[str, Cell] = {"network": twin, "remedy": remedy}
        for depth in sorted(runs.depth.unique()):
            errors = group[group.depth == depth].error
            row[f"depth {depth}, training error % (95 % interval)"] = error_cell(errors)
            row[f"diverged at {depth}"] = int(errors.isna().sum())
        rows.append(row)
    return Table(rows)


def draw(output: Output, runs: pd.DataFrame) -> None:
    """Error and end-to-end ratio, a row per remedy."""
    counts = [runs[runs.twin == twin].remedy.nunique() for twin in style.COLORS]
    options = {"gridspec_kw": {"height_ratios": counts}, "sharex": True}
    with output.figure(2, 2, height=1.2 + 0.22 * sum(counts), **options) as (made, axes):
        for row, twin in enumerate(style.COLORS):
            here = runs[runs.twin == twin]
            errors = error_cells(here, ax=axes[row, 0])
            gradients = gradient_cells(here, ax=axes[row, 1])
            axes[row, 1].set_yticks([])
            axes[row, 0].set_ylabel(f"{twin} networks")
        axes[0, 0].set_title("training error (%)")
        axes[0, 1].set_title("end-to-end gradient ratio (log10)")
        for column in range(2):
            axes[1, column].set_xlabel("depth (weighted layers)")
        made.colorbar(errors, ax=list(axes[:, 0]), pad=0.02, aspect=30)
        made.colorbar(gradients, ax=list(axes[:, 1]), pad=0.02, aspect=30)
        caption = (
            "Training error in evaluation mode after the last step (left; mean over seeds, 'div.' "
            "and gray if all diverged, * if some did) and, at initialization, the logarithm to "
            "base 10 of the norm of the gradient at the first block's input over that at the last "
            "block's output (right; mean over seeds, white: 1, '-' and gray if there is no finite "
            "number above 0: the head or a block passes nothing back)."
        )
        output.add_figure(made, "initialization", caption)


def error_cells(runs: pd.DataFrame, *, ax: Axes) -> QuadMesh:
    """Mean training error by remedy (rows) and depth (columns), written into each cell."""
    values = _grid(runs, "error")
    lost = _grid(runs.assign(lost=runs.error.isna().astype(float)), "lost")
    texts = values.map(lambda v: "div." if np.isnan(v) else f"{v:.1f}")
    texts = texts.where((lost == 0) | (lost == 1), texts + "*")
    return plots.cells(values, texts, ax=ax, cmap="viridis_r", low=0, high=100)


def gradient_cells(runs: pd.DataFrame, *, ax: Axes) -> QuadMesh:
    """Mean log10 of the gradient's ratio by remedy (rows) and depth (columns)."""
    usable = runs.ratio.where(runs.is_bound.eq(False))
    values = _grid(runs.assign(decades=np.log10(usable)), "decades")
    texts = values.map(lambda v: "-" if np.isnan(v) else f"{round(v, 1) + 0:+.1f}")
    return plots.cells(values, texts, ax=ax, cmap="PuOr", low=-DECADES, high=DECADES)


def _grid(runs: pd.DataFrame, value: str) -> pd.DataFrame:
    return runs.pivot_table(index="remedy", columns="depth", values=value, dropna=False)


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__, swept=SWEPT)
