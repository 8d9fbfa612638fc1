"""Does the gap close if each network has its own best learning rate? Rate x depth x skip.

python analysis/learning_rate.py outputs/learning_rate
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.patches import Rectangle

from gradflow.analysis.figures import plots, style
from gradflow.analysis.frames import dicts, groups
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.studies.degradation import error_against_depth
from gradflow.analysis.tables import Cell, Table
from gradflow.core.errors import GradflowError
from gradflow.statistics import POINTS, interval
from gradflow.verdict import RATE
from gradflow.verdict.ranking import cross_validated

SWEPT = (RATE,)


def analyze(output: Output) -> None:
    """The heatmap, the curve at each network's best, and its table.

    Raises:
        GradflowError: the study has one learning rate.
    """
    study = output.study
    runs = study.runs.assign(error=100 * study.runs.final_train_error)
    if runs[RATE].nunique() < 2:
        raise GradflowError(
            f"{study.folder}: has one learning rate; gradflow study learning_rate sweeps several"
        )
    best = at_own_best(runs)
    output.add_table("learning_rate", best_table(runs, best))
    draw_heatmaps(output, runs)
    draw_best(output, runs, best)


def at_own_best(runs: pd.DataFrame) -> pd.DataFrame:
    """A row per depth, twin and seed: `error` at the learning rate that is best for the others.

    The rate is chosen by the mean error over the other seeds, so that a seed's error is not
    also what its rate was chosen by. A rate at which a run diverged is not chosen. With one
    seed the rate is chosen by that seed.
    """
    parts = []
    for (depth, twin), group in groups(runs, ["depth", "twin"]):
        held = group.assign(error=group.error.fillna(np.inf))  # NaN is to be no run
        errors = held.pivot_table(index=RATE, columns="seed", values="error")
        chosen, error = cross_validated(errors.to_numpy(dtype=float))
        rates = np.where(chosen < 0, np.nan, errors.index.to_numpy()[chosen])
        part = {"depth": depth, "twin": twin, "seed": errors.columns, RATE: rates, "error": error}
        parts.append(pd.DataFrame(part))
    return pd.concat(parts, ignore_index=True)


def draw_heatmaps(output: Output, runs: pd.DataFrame) -> None:
    """Error by rate and depth, a panel per twin."""
    with output.figure(1, 2, height=2.5, sharey=True) as (made, axes):
        for ax, twin in zip(axes[0], style.COLORS, strict=True):
            mesh = error_heatmap(runs[runs.twin == twin], ax=ax)
            ax.set_title(f"{twin} networks")
        axes[0, 1].set_ylabel("")
        made.colorbar(mesh, ax=list(axes[0]), label="training error (%)", pad=0.01)
        style.letter_panels(axes[0])
        caption = (
            "Training error in evaluation mode after the last step, by learning rate and depth: "
            "mean over seeds in percent; framed: the lowest of each depth; div., gray: a run "
            "diverged."
        )
        output.add_figure(made, "learning_rate_heatmap", caption)


def draw_best(output: Output, runs: pd.DataFrame, best: pd.DataFrame) -> None:
    """Error at each network's own best rate, and that rate, against depth."""
    with output.figure(1, 2, height=2.5) as (made, axes):
        error_against_depth(best, ax=axes[0, 0])
        rate_against_depth(best, sorted(runs[RATE].unique()), ax=axes[0, 1])
        style.legend(made, axes[0, :1])
        style.letter_panels(axes[0])
        caption = (
            "Each network at its own best learning rate: training error (a) and that rate (b) "
            "against depth. The rate of a seed is the one with the lowest mean error over the "
            "other seeds. Open marks: single seeds, in b with an area that grows with their "
            "number; lines: median seed, in b one of the rates that were tried."
        )
        output.add_figure(made, "learning_rate_best", caption)


def error_heatmap(runs: pd.DataFrame, *, ax: Axes) -> QuadMesh:
    """Mean `error` by learning rate (rows) and depth (columns), each written into its cell."""
    table = runs.pivot_table(
        index=RATE, columns="depth", values="error", aggfunc=_mean_of_all, dropna=False
    )
    texts = table.map(lambda value: "div." if np.isnan(value) else f"{value:.1f}")
    mesh = plots.cells(table, texts, ax=ax, cmap="viridis_r", low=0, high=100)
    ax.invert_yaxis()  # rates ascend
    values = table.to_numpy(dtype=float)
    for column in range(values.shape[1]):
        if not np.isnan(values[:, column]).all():
            row = int(np.nanargmin(values[:, column]))
            # White on black: seen on every shade.
            for color, width in (("k", 3.0), ("w", 1.2)):
                inner = (column + 0.04, row + 0.04)
                ax.add_patch(
                    Rectangle(inner, 0.92, 0.92, fill=False, lw=width, color=color, zorder=3)
                )
    ax.set_xlabel("depth (weighted layers)")
    ax.set_ylabel("learning rate")
    return mesh


def rate_against_depth(best: pd.DataFrame, rates: Sequence[float], *, ax: Axes) -> Axes:
    """The chosen learning rate, of `rates`, against `depth`, by `twin`."""
    chosen = best.dropna(subset=RATE)
    ax.set_yscale("log")
    for (twin, look), side in zip(style.TWIN_LOOKS.items(), (-1, 1), strict=True):
        own = chosen[chosen.twin == twin]
        counts = own.groupby(["depth", RATE]).size().reset_index(name="seeds")
        # Beside one another: both twins may choose one rate.
        beside = plots.aside(ax, ax.transData, 2.5 * side)
        for row in dicts(counts):
            ax.plot(
                row["depth"], row[RATE], look["marker"], color=look["color"], fillstyle="none",
                markersize=2 + 2.5 * row["seeds"] ** 0.5, transform=beside,
            )  # fmt: skip
        line = own.groupby("depth")[RATE].agg(lambda rates: plots.middle(rates, tried=True))
        ax.plot(line.index, line, color=look["color"], transform=beside, lw=0.9)
    ax.set_yticks(rates, [f"{rate:g}" for rate in rates])
    ax.set_yticks([], minor=True)
    ax.set_ylim(min(rates) / 1.3, max(rates) * 1.3)
    ax.set_ylabel("best learning rate")
    depths = sorted(best.depth.unique())
    style.depth_axis(ax, depths)
    room = 0.08 * (depths[-1] - depths[0]) or 1.0
    ax.set_xlim(depths[0] - room, depths[-1] + room)
    return ax


def best_table(runs: pd.DataFrame, best: pd.DataFrame) -> Table:
    """Best rate and error by depth, and the paired difference of the twins."""
    rows: list[dict[str, Cell]] = []
    for depth, group in groups(best, "depth"):
        errors = group.pivot_table(index="seed", columns="twin", values="error", dropna=False)
        errors = errors.reindex(columns=list(style.COLORS))
        row: dict[str, Cell] = {"depth": int(depth)}
        for twin in style.COLORS:
            here = runs[(runs.depth == depth) & (runs.twin == twin)]
            means = here.groupby(RATE).error.agg(_mean_of_all).dropna()
            row[f"{twin}, best rate"] = float(means.index[means.argmin()]) if len(means) else None
            row[f"{twin}, training error %"] = errors[twin].mean()
        gap = interval((errors.plain - errors.residual).dropna(), within=POINTS)
        rows.append(row | {"plain - residual, points (95 % interval)": gap, "seeds": gap.n})
    return Table(rows, {f"{twin}, best rate": "g" for twin in style.COLORS})


def _mean_of_all(errors: "pd.Series[float]") -> float:
    """NaN if one is NaN: a rate at which some seed diverges is not a good one."""
    return float(errors.mean(skipna=False))


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__, swept=SWEPT)
