"""The loss around trained weights, plain beside residual, along filter-normalised directions.

python analysis/landscape.py outputs/landscape
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gradflow.analysis.figures import style
from gradflow.analysis.study import Study, run_script
from gradflow.analysis.tables import Table
from gradflow.statistics import geometric_interval, intervals_by

NEAR = 0.25  # of the weights' length: how far "near the centre" reaches, in the table


def analyse(study: Study, formats: Sequence[str]) -> list[Path]:
    """The figure, and the table of losses around the centre; prints the table."""
    columns = ["surface", "x", "y", "loss", "error"]
    points = study.diagnosis("landscape", "landscape", columns)
    points = points[points["at"] == "trained"]
    table = table_of(points)
    print(table)
    paths = study.save_table("landscape", table)
    return [*paths, *draw(study, points, formats)]


def draw(study: Study, points: pd.DataFrame, formats: Sequence[str]) -> list[Path]:
    """A row a depth: contours of plain and residual (the first seed), and the line of all seeds."""
    depths = sorted(points.depth.unique())
    seed = points.seed.min()
    with style.figure(len(depths), 3, height=2.1 * len(depths) + 0.2) as (made, axes):
        for row, depth in enumerate(depths):
            for column, twin in enumerate(style.COLORS):
                chosen = points[
                    (points.depth == depth) & (points.twin == twin) & (points.surface == "plane")
                ]
                ax = contours(chosen[chosen.seed == seed], ax=axes[row, column])
                ax.set_title(f"{twin} {depth}")
                ax.set_xlabel("" if row + 1 < len(depths) else "direction 1")
            along = points[(points.depth == depth) & (points.surface == "line")]
            line_by_twin(along, ax=axes[row, 2]).set_title(f"depth {depth}")
            axes[row, 1].set_ylabel("")
        axes[0, 2].legend(loc="best")
        style.letter_panels(axes.flat)
        images = "the first training images"
        caption = (
            f"Loss of trained networks on {images} around their weights (0, 0), along random "
            "directions whose filters have the length of the network's own (1: as far as the "
            "weights are long); batch norm takes the statistics of these images at each point. "
            f"Left and middle: seed {seed}, the same levels in all panels (nats). Right: along "
            f"direction 1, geometric mean and 95 % t interval of the logarithm over {study.seeds}."
        )
        return style.save(made, study, "landscape", caption, formats)


LEVELS = (0.01, 0.03, 0.1, 0.3, 1.0, 1.5, 2.0, 2.3, 3.0, 5.0, 10.0)


def contours(points: pd.DataFrame, *, ax: Axes) -> Axes:
    """Lines of equal loss over the plane, labelled."""
    grid = points.pivot_table(index="y", columns="x", values="loss")
    values = np.nan_to_num(grid.to_numpy(), nan=np.inf).clip(1e-6, 1e6)
    drawn = ax.contour(
        grid.columns, grid.index, np.log10(values), np.log10(LEVELS), cmap="viridis", linewidths=0.8
    )
    ax.clabel(drawn, fmt={level: f"{10**level:.3g}" for level in drawn.levels}, fontsize=5.5)
    ax.plot(0, 0, "+", color="k", markersize=5)
    ax.set_aspect("equal")
    ax.set_ylabel("direction 2")
    return ax


def line_by_twin(points: pd.DataFrame, *, ax: Axes) -> Axes:
    """Loss along one direction, by twin."""
    summary = intervals_by(points, ["twin", "x"], "loss", log=True)
    for twin, line in summary.groupby("twin"):
        color = style.COLORS[str(twin)]
        ax.plot(line.x, line["mean"], color=color, label=str(twin))
        ax.fill_between(line.x, line.low, line.high, color=color, alpha=0.2, lw=0)
    ax.set_yscale("log")
    ax.set_xlabel("distance along direction 1")
    ax.set_ylabel("training loss (nats)")
    return ax


def table_of(points: pd.DataFrame) -> Table:
    """Loss and error at the centre, and a quarter of a length away."""
    line = points[points.surface == "line"]
    ticks = line.x.unique()
    near = float(ticks[np.abs(ticks - NEAR).argmin()])
    away = f"loss {near:g} away (95 % interval of the logarithm)"
    rows = []
    for (depth, twin), group in line.groupby(["depth", "twin"]):
        centre = group[group.x == 0]
        around = group[group.x.abs() == near].groupby("run_id")[["loss", "error"]].mean()
        rows.append(
            {
                "network": f"{twin} {depth}",
                "loss at the centre": geometric_interval(centre.loss).mean,
                "error there, %": 100 * centre.error.mean(),
                away: geometric_interval(around.loss),
                "error away, %": 100 * around.error.mean(),
                "seeds": len(around),
            }
        )
    return Table(rows, {"loss at the centre": ".3g", away: ".3g"})


def main() -> None:
    run_script(analyse, __doc__)
