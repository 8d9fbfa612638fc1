"""If the best map is the identity: do residual branches reach 0, and what do plain stacks do?

python analysis/identity.py outputs/identity
"""

import pandas as pd
from matplotlib.axes import Axes

from gradflow.analysis.figures import plots, style
from gradflow.analysis.frames import groups
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.tables import Cell, Table
from gradflow.core.errors import GradflowError
from gradflow.statistics import interval


def analyze(output: Output) -> None:
    """The figure, and the table of errors and distances.

    Raises:
        GradflowError: the runs were trained for something else than the identity.
    """
    study = output.study
    if set(study.runs.task) != {"identity"}:
        raise GradflowError(
            f"{study.folder}: its networks were not trained to be the identity; "
            "gradflow study identity trains such networks"
        )
    columns = ["block_index", "branch_share", "distance", "stack_distance"]
    blocks = study.diagnosis("identity", "identity", columns)
    output.add_table("identity", identity_table(study.runs, blocks))
    draw(output, blocks)


def draw(output: Output, blocks: pd.DataFrame) -> None:
    """Error against depth, and each block's distance from the identity."""
    study = output.study
    with output.figure(1, 3, height=2.5) as (made, axes):
        error_against_depth(study.runs, ax=axes[0, 0])
        for ax, twin, title in zip(
            axes[0, 1:], ("residual", "plain"), ("residual blocks", "plain blocks"), strict=True
        ):
            distance_by_block(blocks[blocks.twin == twin], ax=ax).set_title(title)
        low = min(ax.get_ylim()[0] for ax in axes[0, 1:])
        high = max(ax.get_ylim()[1] for ax in axes[0, 1:])
        for ax in axes[0, 1:]:
            ax.set_ylim(low, high)
        handles = style.depth_handles(sorted(blocks.depth.unique()))
        handles += style.dash_handles(style.STATE_LINES)
        style.legend(made, axes[0, :1], handles=handles)
        style.letter_panels(axes[0])
        caption = (
            "Fully connected networks trained to reproduce their input; stem and head are fixed "
            "and together the identity, so that the best that blocks can do is nothing. a: mean "
            "squared error as a share of the input's mean square (1: that of an output of 0), in "
            "evaluation mode on the training images. b, c: distance of each block from the "
            "identity, |y - x| / |x|, a shade per depth. Open marks: single seeds; lines: median "
            f"of {output.study.seeds}; bands: from the lowest to the highest."
        )
        output.add_figure(made, "identity", caption)


def error_against_depth(runs: pd.DataFrame, *, ax: Axes) -> Axes:
    """Relative squared error against depth, by twin."""
    plots.medians(runs, x="depth", y="final_train_error", ax=ax, log=True, lost="diverged")
    style.depth_axis(ax, sorted(runs.depth.unique()))
    ax.set_ylabel("relative squared error")
    return ax


def distance_by_block(blocks: pd.DataFrame, *, ax: Axes) -> Axes:
    """|y - x| / |x| by place in the network, a shade per depth; dashed at initialization."""
    shades = style.depth_colors(sorted(blocks.depth.unique()))
    counts = blocks.groupby("depth").block_index.transform("max") + 1
    blocks = blocks.assign(
        place=(blocks.block_index + 0.5) / counts,
        line=blocks.depth.astype(str) + ", " + blocks["at"],
    )
    looks = {
        f"{depth}, {state}": {
            "color": shades[depth],
            "label": "_",
            "ls": dashes,
            "lw": 1,
            # One block is no line: open at initialization, filled when it is trained.
            "marker": "o" if counts[blocks.depth == depth].max() == 1 else None,
            "markersize": 4,
            "fillstyle": "none" if state == "initialization" else "full",
        }
        for depth in shades
        for state, dashes in style.STATE_LINES.items()
    }
    plots.curves(blocks, x="place", y="distance", hue="line", looks=looks, ax=ax, log=True)
    ax.set_xlim(0, 1)
    ax.set_xlabel("block, from first to last")
    ax.set_ylabel("distance from the identity")
    return ax


def identity_table(runs: pd.DataFrame, blocks: pd.DataFrame) -> Table:
    """Error after training, and distances from the identity at both moments: of the median
    block, and of all blocks together."""
    last = blocks.groupby("run_id").block_index.transform("max")
    of_stack = blocks[blocks.block_index == last]
    error = "relative squared error (95 % interval)"
    rows: list[dict[str, Cell]] = []
    for (depth, twin), group in groups(runs, ["depth", "twin"]):
        row: dict[str, Cell] = {
            "depth": int(depth),
            "network": twin,
            error: interval(group.final_train_error),
        }
        for state, title in style.STATE_TITLES.items():
            here = blocks[(blocks["at"] == state) & blocks.run_id.isin(group.run_id)]
            whole = of_stack[(of_stack["at"] == state) & of_stack.run_id.isin(group.run_id)]
            median = here.groupby("run_id").distance.median().mean()
            row[f"distance of the median block, {title}"] = float(median)
            row[f"distance of all blocks together, {title}"] = float(whole.stack_distance.mean())
        rows.append(row | {"seeds": len(group)})
    return Table(rows, dict.fromkeys(list(rows[0])[2:-1], ".3f"))


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__)
