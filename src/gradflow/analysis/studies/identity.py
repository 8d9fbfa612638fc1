"""Where the best map is the identity: do residual branches go to 0, and what do plain stacks do?

python analysis/identity.py outputs/identity
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from gradflow.analysis.figures import style
from gradflow.analysis.study import Study, run_script
from gradflow.analysis.tables import Cell, Table
from gradflow.core.errors import GradflowError
from gradflow.statistics import interval, intervals_by

STATES = {"initialization": (0, (4, 1.5)), "trained": "-"}
TITLES = {"initialization": "as drawn", "trained": "trained"}


def analyse(study: Study, formats: Sequence[str]) -> list[Path]:
    """The figure, and the table of errors and distances; prints the table.

    Raises:
        GradflowError: the runs were trained for something else than the identity.
    """
    if set(study.runs.task) != {"identity"}:
        raise GradflowError(
            f"{study.folder}: its networks were not trained to be the identity; "
            "python experiments/train.py study=identity trains such"
        )
    blocks = study.diagnosis("identity", "identity", ["block_index", "branch_share", "distance"])
    table = identity_table(study.runs, blocks)
    print(table)
    paths = study.save_table("identity", table)
    return [*paths, *draw(study, blocks, formats)]


def draw(study: Study, blocks: pd.DataFrame, formats: Sequence[str]) -> list[Path]:
    with style.figure(1, 3, height=2.5) as (made, axes):
        error_against_depth(study.runs, ax=axes[0, 0]).legend(loc="best")
        for ax, twin, title in zip(
            axes[0, 1:], ("residual", "plain"), ("residual blocks", "plain blocks"), strict=True
        ):
            distance_by_block(blocks[blocks.twin == twin], ax=ax).set_title(title)
        low = min(ax.get_ylim()[0] for ax in axes[0, 1:])
        high = max(ax.get_ylim()[1] for ax in axes[0, 1:])
        for ax in axes[0, 1:]:
            ax.set_ylim(low, high)
        style.depth_legend(axes[0, 1], sorted(blocks.depth.unique()), loc="upper right", ncols=2)
        style.state_legend(axes[0, 2], STATES, loc="lower right")
        style.letter_panels(axes[0])
        caption = (
            "Fully connected networks trained to give back their input; stem and head are fixed "
            "and together the identity, so that the best that blocks can do is nothing. a: mean "
            "squared error as a share of the input's mean square (1: as good as putting out 0), in "
            "evaluation mode on the training images. b, c: how far each block is from handing on "
            "its input, |y - x| / |x|. Marks and lines: geometric means; bars and bands: 95 % t "
            f"intervals of the logarithm over {study.seeds}."
        )
        return style.save(made, study, "identity", caption, formats)


def error_against_depth(runs: pd.DataFrame, *, ax: Axes) -> Axes:
    """Relative squared error against depth, by twin."""
    summary = intervals_by(runs, ["twin", "depth"], "final_train_error", log=True)
    for twin, color in style.COLORS.items():
        line = summary[summary.twin == twin]
        ax.errorbar(
            line.depth,
            line["mean"],
            yerr=[line["mean"] - line.low, line.high - line["mean"]],
            color=color,
            marker=style.MARKERS[twin],
            capsize=2,
            label=twin,
        )
    ax.set_yscale("log")
    style.depth_axis(ax, sorted(runs.depth.unique()))
    ax.set_ylabel("relative squared error")
    return ax


def distance_by_block(blocks: pd.DataFrame, *, ax: Axes) -> Axes:
    """|y - x| / |x| by place in the network, a shade a depth; dashed as drawn, solid trained."""
    shades = style.depth_colors(sorted(blocks.depth.unique()))
    summary = intervals_by(blocks, ["depth", "at", "block_index"], "distance", log=True)
    for (depth, state), line in summary.groupby(["depth", "at"]):
        place = (line.block_index + 0.5) / (line.block_index.max() + 1)
        look = {"ls": STATES[state], "lw": 1, "marker": "." if len(line) == 1 else None}
        ax.plot(place, line["mean"], color=shades[depth], **look)
        ax.fill_between(place, line.low, line.high, color=shades[depth], alpha=0.15, lw=0)
    ax.set_yscale("log")
    ax.set_xlim(0, 1)
    ax.set_xlabel("block, from first to last")
    ax.set_ylabel("distance from the identity")
    return ax


def identity_table(runs: pd.DataFrame, blocks: pd.DataFrame) -> Table:
    """Error after training, and the median block's distance before and after."""
    medians = blocks.groupby(["depth", "twin", "at", "run_id"]).distance.median()
    error = "relative squared error (95 % interval)"
    names = {state: f"distance of the median block, {TITLES[state]}" for state in STATES}
    rows = []
    for (depth, twin), group in runs.groupby(["depth", "twin"]):
        row: dict[str, Cell] = {
            "depth": int(depth),
            "network": twin,
            error: interval(group.final_train_error),
        }
        for state, name in names.items():
            of_run = medians[depth, twin].get(state)
            row[name] = None if of_run is None else of_run.mean()
        rows.append(row | {"seeds": len(group)})
    return Table(rows, dict.fromkeys((error, *names.values()), ".3f"))


def main() -> None:
    run_script(analyse, __doc__)
