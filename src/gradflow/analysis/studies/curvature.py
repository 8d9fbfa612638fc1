"""How sharp is the loss, by layer group? The Hessian's largest eigenvalues and traces.

gradflow diagnose run=outputs/landscape diagnostic=curvature
python analysis/curvature.py outputs/landscape
"""

import pandas as pd
from matplotlib.axes import Axes

from gradflow.analysis.figures import plots, style
from gradflow.analysis.frames import groups
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.tables import Cell, Table
from gradflow.statistics import geometric_interval

GROUPS = ("stem", "first blocks", "middle blocks", "last blocks", "head", "all")


def analyze(output: Output) -> None:
    """The figure, and the table by depth and twin."""
    columns = ["layers", "n_parameters", "largest", "trace", "trace_error"]
    parts = output.study.diagnosis("curvature", "curvature", columns)
    output.add_table("curvature", curvature_table(parts))
    draw(output, parts)


def draw(output: Output, parts: pd.DataFrame) -> None:
    """A panel per state of the weights."""
    states = [state for state in style.STATE_TITLES if state in set(parts["at"])]
    with output.figure(1, len(states), height=2.5, sharey=True) as (made, axes):
        for ax, state in zip(axes[0], states, strict=True):
            eigenvalue_by_group(parts[parts["at"] == state], ax=ax)
            ax.set_title(style.STATE_TITLES[state])
        for ax in axes[0, 1:]:
            ax.set_ylabel("")
        style.legend(made, axes[0])
        style.letter_panels(axes[0])
        caption = (
            "Largest eigenvalue of the Hessian of the loss by the parameters of a group of layers, "
            "batch norm with the statistics of the images. Open marks: single seeds; filled: their "
            f"median, of {output.study.seeds}."
        )
        output.add_figure(made, "curvature", caption)


def eigenvalue_by_group(parts: pd.DataFrame, *, ax: Axes) -> Axes:
    """Largest eigenvalue by group, marks per network; those of deeper networks are open."""
    networks = sorted(set(zip(parts.twin, parts.depth, strict=True)))
    depths = sorted(parts.depth.unique())
    marks_of = {"plain": "osD^", "residual": "sPXv"}
    looks = {
        f"{twin} {depth}": style.TWIN_LOOKS[twin]
        | {"lw": 0, "marker": marks_of[twin][depths.index(depth) % 4]}
        for twin, depth in networks
    }
    names = parts.twin + " " + parts.depth.astype(str)
    # Side by side, in the order of the legend.
    shifts = {name: 0.08 * (i - (len(looks) - 1) / 2) for i, name in enumerate(looks)}
    places = parts.layers.map(GROUPS.index) + names.map(shifts)
    marks = parts.assign(network=names, place=places)
    plots.medians(marks, x="place", y="largest", hue="network", looks=looks, ax=ax, log=True)
    ax.set_xticks(range(len(GROUPS)), [group.replace(" ", "\n") for group in GROUPS])
    ax.set_ylabel("largest eigenvalue")
    return ax


def curvature_table(parts: pd.DataFrame) -> Table:
    """Largest eigenvalue and trace over all parameters, with the error of its estimate."""
    largest = "largest eigenvalue (95 % interval of the logarithm)"
    error = "standard error of the trace"
    rows = []
    whole = parts[parts.layers == "all"]
    for (depth, twin, state), group in groups(whole, ["depth", "twin", "at"]):
        row: dict[str, Cell] = {
            "depth": int(depth),
            "network": twin,
            "weights": style.STATE_TITLES[state],
            largest: geometric_interval(group.largest),
            "trace": group.trace.mean(),
            # Of the mean over seeds, from that of each seed's estimate.
            error: float((group.trace_error**2).sum() ** 0.5 / len(group)),
        }
        rows.append(row)
    return Table(rows, {largest: ".3g", "trace": ".3g", error: ".2g"})


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__)
