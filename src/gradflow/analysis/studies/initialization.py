"""Which initialisations and branch scales train without a norm? Error and gradient by depth.

python analysis/initialization.py outputs/initialization
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh

from gradflow.analysis.figures import style
from gradflow.analysis.studies.gradient_highway import end_ratios
from gradflow.analysis.study import Study, run_script
from gradflow.analysis.tables import Cell, Table, error_cell

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
DECADES = 8  # either way, that the gradient's colours span


def analyse(study: Study, formats: Sequence[str]) -> list[Path]:
    """The figure and the table of a study; prints the table."""
    runs = study.runs.assign(
        remedy=study.runs.apply(remedy_of, axis=1), error=100 * study.runs.final_train_error
    )
    blocks = study.records("blocks", ["step", "block_index", "input_grad_norm"], step=0)
    ratios = end_ratios(blocks.astype({"input_grad_norm": float}))
    runs = runs.merge(ratios[["run_id", "ratio"]], on="run_id", how="left")
    table = error_table(runs)
    print(table)
    return [*study.save_table("remedies", table), *draw(study, runs, formats)]


def remedy_of(run: pd.Series) -> str:
    """What a run does about depth, in the words of papers: its norm where it has one."""
    if run.network_norm != "none":
        return f"{run.network_norm} norm"
    if run.network_zero_last:
        return "last layer 0"
    if run.network_scaling in SCALINGS:
        return SCALINGS[run.network_scaling]
    kind = run.network_initialization
    return INITIALIZATIONS.get(kind, kind)


def error_table(runs: pd.DataFrame) -> Table:
    """Training error by network, remedy and depth, with 95 % intervals."""
    rows = []
    for (twin, remedy), group in runs.groupby(["twin", "remedy"]):
        row: dict[str, Cell] = {"network": twin, "remedy": remedy}
        for depth in sorted(runs.depth.unique()):
            errors = group[group.depth == depth].error
            row[f"depth {depth}, training error % (95 % interval)"] = error_cell(errors)
            row[f"diverged at {depth}"] = int(errors.isna().sum())
        rows.append(row)
    return Table(rows)


def draw(study: Study, runs: pd.DataFrame, formats: Sequence[str]) -> list[Path]:
    counts = [runs[runs.twin == twin].remedy.nunique() for twin in style.COLORS]
    options = {"gridspec_kw": {"height_ratios": counts}, "sharex": True}
    with style.figure(2, 2, height=1.2 + 0.22 * sum(counts), **options) as (made, axes):
        for row, twin in enumerate(style.COLORS):
            here = runs[runs.twin == twin]
            errors = error_cells(here, ax=axes[row, 0])
            gradients = gradient_cells(here, ax=axes[row, 1])
            axes[row, 1].set_yticks([])
            axes[row, 0].set_ylabel(f"{twin} networks")
        axes[0, 0].set_title("training error (%)")
        axes[0, 1].set_title("gradient, first / last block (log10)")
        for column in range(2):
            axes[1, column].set_xlabel("depth (weighted layers)")
        made.colorbar(errors, ax=list(axes[:, 0]), pad=0.02, aspect=30)
        made.colorbar(gradients, ax=list(axes[:, 1]), pad=0.02, aspect=30)
        caption = (
            "Training error in evaluation mode after the last step (left; mean over seeds, 'div.' "
            "where all diverged, * where some did) and, at initialisation, the logarithm to base "
            "10 of the norm of the gradient at the first block's input over that at the last "
            "block's (right; mean over seeds, '-' where there is no finite number above 0: the "
            "head or a block passes nothing back)."
        )
        return style.save(made, study, "remedies", caption, formats)


def error_cells(runs: pd.DataFrame, *, ax: Axes) -> QuadMesh:
    """Mean training error by remedy (rows) and depth (columns), written into each cell."""
    values = _grid(runs, "error")
    lost = _grid(runs.assign(lost=runs.error.isna().astype(float)), "lost")
    texts = values.map(lambda v: "div." if np.isnan(v) else f"{v:.1f}")
    texts = texts.where((lost == 0) | (lost == 1), texts + "*")
    return style.cells(values, texts, ax=ax, cmap="viridis_r", low=0, high=100)


def gradient_cells(runs: pd.DataFrame, *, ax: Axes) -> QuadMesh:
    """Mean log10 of the gradient's ratio by remedy (rows) and depth (columns)."""
    usable = runs.ratio.where(np.isfinite(runs.ratio) & (runs.ratio > 0))
    values = _grid(runs.assign(decades=np.log10(usable)), "decades")
    texts = values.map(lambda v: "-" if np.isnan(v) else f"{round(v, 1) + 0:+.1f}")
    return style.cells(values, texts, ax=ax, cmap="PuOr", low=-DECADES, high=DECADES)


def _grid(runs: pd.DataFrame, value: str) -> pd.DataFrame:
    return runs.pivot_table(index="remedy", columns="depth", values=value, dropna=False)


def main() -> None:
    run_script(analyse, __doc__, swept=SWEPT)
