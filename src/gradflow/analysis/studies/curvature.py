"""How sharp is the loss, by layer group? The Hessian's largest eigenvalues and traces.

python experiments/diagnose.py run=outputs/landscape diagnostic=curvature
python analysis/curvature.py outputs/landscape
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from gradflow.analysis.figures import style
from gradflow.analysis.study import Study, run_script
from gradflow.analysis.tables import Table
from gradflow.statistics import geometric_interval, intervals_by

GROUPS = ("stem", "first blocks", "middle blocks", "last blocks", "head", "all")
TITLES = {"initialization": "as drawn", "trained": "trained"}


def analyse(study: Study, formats: Sequence[str]) -> list[Path]:
    """The figure, and the table by depth and twin; prints the table."""
    columns = ["layers", "n_parameters", "largest", "trace"]
    groups = study.diagnosis("curvature", "curvature", columns)
    table = curvature_table(groups)
    print(table)
    paths = study.save_table("curvature", table)
    return [*paths, *draw(study, groups, formats)]


def draw(study: Study, groups: pd.DataFrame, formats: Sequence[str]) -> list[Path]:
    states = [state for state in TITLES if state in set(groups["at"])]
    with style.figure(1, len(states), height=2.5, sharey=True) as (made, axes):
        for ax, state in zip(axes[0], states, strict=True):
            eigenvalue_by_group(groups[groups["at"] == state], ax=ax).set_title(TITLES[state])
        for ax in axes[0, 1:]:
            ax.set_ylabel("")
        axes[0, -1].legend(loc="upper right")
        style.letter_panels(axes[0])
        caption = (
            "Largest eigenvalue of the Hessian of the loss by the parameters of a group of layers, "
            "batch norm with the statistics of the images. Geometric mean and 95 % t interval of "
            f"the logarithm over {study.seeds}."
        )
        return style.save(made, study, "curvature", caption, formats)


def eigenvalue_by_group(groups: pd.DataFrame, *, ax: Axes) -> Axes:
    """Largest eigenvalue by group, a line a network; deeper ones dashed."""
    summary = intervals_by(groups, ["twin", "depth", "layers"], "largest", log=True)
    shallowest = summary.depth.min()
    lines = list(summary.groupby(["twin", "depth"]))
    for place, ((twin, depth), line) in enumerate(lines):
        line = line.set_index("layers").reindex([g for g in GROUPS if g in set(line.layers)])
        ax.errorbar(
            [GROUPS.index(group) + 0.08 * (place - (len(lines) - 1) / 2) for group in line.index],
            line["mean"],
            yerr=[line["mean"] - line.low, line.high - line["mean"]],
            color=style.COLORS[str(twin)],
            marker=style.MARKERS[str(twin)],
            fillstyle="full" if depth == shallowest else "none",
            lw=0,
            elinewidth=0.8,
            label=f"{twin} {depth}",
        )
    ax.set_yscale("log")
    ax.set_xticks(range(len(GROUPS)), [group.replace(" ", "\n") for group in GROUPS])
    ax.set_ylabel("largest eigenvalue")
    return ax


def curvature_table(groups: pd.DataFrame) -> Table:
    """Largest eigenvalue and trace over all parameters."""
    largest = "largest eigenvalue (95 % interval of the logarithm)"
    rows = [
        {
            "depth": int(depth),
            "network": twin,
            "weights": TITLES[state],
            largest: geometric_interval(group.largest),
            "trace": group.trace.mean(),
        }
        for (depth, twin, state), group in groups[groups.layers == "all"].groupby(
            ["depth", "twin", "at"]
        )
    ]
    return Table(rows, {largest: ".3g", "trace": ".3g"})


def main() -> None:
    run_script(analyse, __doc__)
