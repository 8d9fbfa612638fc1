"""The loss around trained weights, plain beside residual, along filter-normalized directions.

python analysis/landscape.py outputs/landscape
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from gradflow.analysis.figures import plots, style
from gradflow.analysis.frames import groups
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.tables import Cell, Table
from gradflow.analysis.task_words import is_squared, loss_name, nats
from gradflow.statistics import geometric_interval

NEAR = 0.25  # of the weights' length: the distance of the table


def analyze(output: Output) -> None:
    """The figure, and the table of losses around the center."""
    columns = ["surface", "x", "y", "loss", "error"]
    points = output.study.diagnosis("landscape", "landscape", columns)
    points = points[points["at"] == "trained"]
    output.add_table("landscape", table_of(points))
    draw(output, points)


def draw(output: Output, points: pd.DataFrame) -> None:
    """A row per depth: contours of the first seed, and the line of all seeds."""
    runs = output.study.runs
    depths = sorted(points.depth.unique())
    seed = points.seed.min()
    with output.figure(len(depths), 3, height=2.1 * len(depths) + 0.2) as (made, axes):
        for row, depth in enumerate(depths):
            for column, twin in enumerate(style.COLORS):
                chosen = points[
                    (points.depth == depth) & (points.twin == twin) & (points.surface == "plane")
                ]
                ax = contours(chosen[chosen.seed == seed], ax=axes[row, column])
                ax.set_title(f"{twin} {depth}")
                ax.set_xlabel("" if row + 1 < len(depths) else "direction 1")
            along = points[(points.depth == depth) & (points.surface == "line")]
            ax = line_by_twin(along, ax=axes[row, 2])
            ax.set_title(f"depth {depth}")
            ax.set_ylabel(loss_name(runs))
            axes[row, 1].set_ylabel("")
        style.legend(made, axes.flat)
        style.letter_panels(axes.flat)
        images = "the first training images"
        unit = "" if is_squared(runs).any() else f" ({nats(runs)})"
        caption = (
            f"Loss of trained networks on {images} around their weights (0, 0), along random "
            "directions whose filters have the length of the network's own (1: the length "
            "of the weights); batch norm takes the statistics of these images at each point. "
            f"Left and middle: seed {seed}, the same levels in all panels{unit}. Right: along "
            f"direction 1, median over {output.study.seeds}; bands: from the lowest to the "
            "highest."
        )
        output.add_figure(made, "landscape", caption)


LEVELS = (0.01, 0.03, 0.1, 0.3, 1.0, 1.5, 2.0, 2.3, 3.0, 5.0, 10.0)


def contours(points: pd.DataFrame, *, ax: Axes) -> Axes:
    """Lines of equal loss over the plane, labeled."""
    grid = points.pivot_table(index="y", columns="x", values="loss")
    values = np.nan_to_num(grid.to_numpy(), nan=np.inf).clip(1e-6, 1e6)
    shades = list(style.depth_colors(range(len(LEVELS))).values())  # that stand out from white
    drawn = ax.contour(
        grid.columns, grid.index, np.log10(values), np.log10(LEVELS), colors=shades, linewidths=0.8
    )
    ax.clabel(drawn, fmt={level: f"{10**level:.3g}" for level in drawn.levels}, fontsize="x-small")
    ax.plot(0, 0, "+", color="k", markersize=5)
    ax.set_aspect("equal")
    for axis in (ax.xaxis, ax.yaxis):  # alike, and none in the corner, where two labels meet
        axis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 5, 10], prune="lower"))
        axis.set_major_formatter("{x:g}")
    ax.set_ylabel("direction 2")
    return ax


LOOKS = {twin: {"color": color} for twin, color in style.COLORS.items()}


def line_by_twin(points: pd.DataFrame, *, ax: Axes) -> Axes:
    """Loss along one direction, by twin."""
    plots.curves(points, x="x", y="loss", looks=LOOKS, ax=ax, log=True)
    ax.set_xlabel("distance along direction 1")
    ax.set_ylabel("training loss")
    return ax


def table_of(points: pd.DataFrame) -> Table:
    """Loss and error at the center, and a quarter of a length away."""
    line = points[points.surface == "line"]
    ticks = line.x.unique()
    near = float(ticks[np.abs(ticks - NEAR).argmin()])
    away = f"loss {near:g} away (95 % interval of the logarithm)"
    rows: list[dict[str, Cell]] = []
    for (depth, twin), group in groups(line, ["depth", "twin"]):
        center = group[group.x == 0]
        around = group[group.x.abs() == near].groupby("run_id")[["loss", "error"]].mean()
        rows.append(
            {
                "network": f"{twin} {depth}",
                "loss at the center": geometric_interval(center.loss).mean,
                "error there, %": 100 * center.error.mean(),
                away: geometric_interval(around.loss),
                "error away, %": 100 * around.error.mean(),
                "seeds": len(around),
            }
        )
    return Table(rows, {"loss at the center": ".3g", away: ".3g"})


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__)
