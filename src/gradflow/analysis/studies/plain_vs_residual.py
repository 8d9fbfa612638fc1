"""Plain against residual networks of several kinds: a column for each norm, or each family.

python analysis/plain_vs_residual.py outputs/normalization
python analysis/plain_vs_residual.py outputs/beyond_cnn
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gradflow.analysis.figures import style
from gradflow.analysis.studies.degradation import error_against_depth
from gradflow.analysis.studies.gradient_highway import end_ratios, ratio_against_depth
from gradflow.analysis.study import SWEPT as TWINS_DIFFER_IN
from gradflow.analysis.study import Study, run_script
from gradflow.analysis.tables import Cell, Table
from gradflow.core.errors import GradflowError
from gradflow.records import SCHEMAS
from gradflow.statistics import interval

SWEPT = tuple(
    c for c in SCHEMAS["runs"].names if c.startswith("network_") and c not in TWINS_DIFFER_IN
)
COLUMNS = 6  # that a page has room for


def analyse(study: Study, formats: Sequence[str]) -> list[Path]:
    """The figure and the table of a study; prints the table.

    Raises:
        GradflowError: there are more kinds of networks than a figure has columns.
    """
    kinds = kinds_of(study.runs)
    if kinds.nunique() > COLUMNS:
        raise GradflowError(
            f"{study.folder}: {kinds.nunique()} kinds of networks, and a figure has room for "
            f"{COLUMNS}; choose with --where, such as --where network_norm=batch"
        )
    runs = study.runs.assign(kind=kinds, error=100 * study.runs.final_train_error)
    table = error_table(runs)
    print(table)
    return [*study.save_table("twins", table), *draw(study, runs, formats)]


def kinds_of(runs: pd.DataFrame) -> pd.Series:
    """A name for what a run's network is, but for depth and skip: its family where there are
    several, and every option in which the networks of one family differ."""
    by_family = runs.groupby("network_name")
    differ = [c for c in SWEPT if by_family[c].nunique(dropna=False).max() > 1]
    parts = [
        runs[c].astype(str).replace("none", "no") + f" {c.removeprefix('network_')}" for c in differ
    ]
    if runs.network_name.nunique() > 1 or not parts:
        parts.insert(0, runs.network_name.str.replace("_", " "))
    names = parts[0]
    for part in parts[1:]:
        names = names + ", " + part
    return names


def error_table(runs: pd.DataFrame) -> Table:
    """Training error by kind and depth, and the twins' paired difference."""
    rows = []
    for (kind, depth), group in runs.groupby(["kind", "depth"]):
        errors = group.pivot_table(index="seed", columns="twin", values="error", dropna=False)
        errors = errors.reindex(columns=list(style.COLORS))
        row: dict[str, Cell] = {"network": kind, "depth": int(depth)}
        for twin in style.COLORS:
            found = group[group.twin == twin].error
            row[f"{twin}, training error %"] = found.mean() if found.notna().any() else "diverged"
        row["plain - residual, points (95 % interval)"] = interval(
            (errors.plain - errors.residual).dropna()
        )
        diverged = int(group.error.isna().sum())
        rows.append(row | {"seeds": group.seed.nunique(), "diverged": diverged})
    return Table(rows)


def draw(study: Study, runs: pd.DataFrame, formats: Sequence[str]) -> list[Path]:
    blocks = study.records("blocks", ["step", "block_index", "input_grad_norm"], step=0)
    ratios = end_ratios(blocks.astype({"input_grad_norm": float}))
    ratios = ratios[np.isfinite(ratios.ratio) & (ratios.ratio > 0)].merge(
        runs[["run_id", "kind"]], on="run_id"
    )
    kinds = sorted(runs.kind.unique())
    with style.figure(2, len(kinds), height=3.7, sharey="row") as (made, axes):
        for column, kind in enumerate(kinds):
            here = runs[runs.kind == kind]
            with_divergence(here, ax=axes[0, column])
            ratio_against_depth(ratios[ratios.kind == kind], ax=axes[1, column])
            axes[0, column].set_title(kind)
            axes[0, column].set_xlabel("")
            axes[1, column].set_xlabel("depth")
            if column:
                axes[0, column].set_ylabel("")
        axes[0, 0].set_ylim(-3, max(103, 1.03 * runs.error.max()))
        seen = ratios.ratio
        axes[1, 0].set_ylim(seen.min() / 10, seen.max() * 10)
        axes[1, 0].set_ylabel("gradient, first / last block")
        handles = dict(
            pair
            for ax in axes[0]
            for pair in zip(*reversed(ax.get_legend_handles_labels()), strict=True)
        )
        made.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=3)
        caption = (
            "Training error in evaluation mode after the last step (top) and, at initialisation, "
            "the norm of the gradient at the first block's input over that at the last block's "
            "(bottom). Small marks: single seeds; lines: mean (top) and geometric mean (bottom) "
            "of the runs that did not diverge; bars: 95 % t intervals, which may leave the frame; "
            "crosses at the top: runs that diverged. The error of a family that predicts images "
            "is the mean squared error's share of its target's mean square."
        )
        return style.save(made, study, "twins", caption, formats)


def with_divergence(runs: pd.DataFrame, *, ax: Axes) -> Axes:
    """Training error (`error`, in percent) by twin and depth, and a cross for a run without."""
    error_against_depth(runs.dropna(subset="error"), ax=ax)
    for shift, (twin, color) in enumerate(style.COLORS.items()):
        lost = runs[(runs.twin == twin) & runs.error.isna()]
        if len(lost):
            places = lost.depth + 1.5 * lost.groupby("depth").cumcount() * (1 - 2 * shift)
            label = f"{twin}, diverged"
            ax.plot(places, np.full(len(lost), 100.0), "x", color=color, label=label)
    style.depth_axis(ax, sorted(runs.depth.unique()))
    return ax


def main() -> None:
    run_script(analyse, __doc__, swept=SWEPT)
