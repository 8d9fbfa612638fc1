"""Which way did the gradient come back? Its share over shortcuts, by block, depth and moment.

python analysis/ledger.py outputs/degradation
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gradflow.analysis.figures import style
from gradflow.analysis.study import Study, run_script
from gradflow.core.errors import GradflowError
from gradflow.statistics import intervals_by

MOMENTS = {"at initialisation": "min", "at the last step": "max"}
PARTS = {
    "input_grad_norm": ("all of it", "0.2", "-"),
    "skip_grad_norm": ("over the shortcut", style.COLORS["residual"], "--"),
    "branch_grad_norm": ("through the branch", style.COLORS["plain"], ":"),
}


def analyse(study: Study, formats: Sequence[str]) -> list[Path]:
    """The figures of a study.

    Raises:
        GradflowError: no block of it has a ledger.
    """
    blocks = study.records("blocks", ["step", "block_index", "skip_share", *PARTS])
    if blocks.skip_share.isna().all():
        raise GradflowError(
            f"{study.folder}: no block has a ledger (skip_share is null in all rows); "
            "it is recorded with every probe=... but off"
        )
    return [
        *draw_shares(study, blocks, end_to_end(study), formats),
        *draw_parts(study, blocks, int(study.runs.depth.max()), formats),
    ]


def end_to_end(study: Study) -> pd.DataFrame:
    """Rows of `path_share`; none where no step was measured with details."""
    columns = ["step", "path_share"]
    try:
        return study.records("network_details", columns)
    except GradflowError:
        return pd.DataFrame(columns=["run_id", *columns, "depth", "twin", "seed"])


def draw_shares(
    study: Study, blocks: pd.DataFrame, paths: pd.DataFrame, formats: Sequence[str]
) -> list[Path]:
    lost = int((blocks.skip_share.isna() & blocks.branch_grad_norm.notna()).sum())
    with style.figure(2, 2, height=4.4, sharey="row") as (made, axes):
        for column, (title, moment) in enumerate(MOMENTS.items()):
            rows = at(blocks, moment).dropna(subset="skip_share")
            share_by_block(rows, ax=axes[0, column])
            axes[0, column].set_title(title)
            axes[0, column].set_xlabel("block (0: first, 1: last)")
            ends = paths[paths.step == paths.run_id.map(steps_of(blocks, moment))]
            share_by_depth(mean_shares(rows), ends.dropna(subset="path_share"), ax=axes[1, column])
        axes[0, 0].set_ylabel("share over the shortcut")
        axes[1, 0].set_ylabel("mean over blocks")
        axes[1, 0].legend()
        style.letter_panels(axes.flat)
        caption = (
            "Share of the loss gradient at a block's input that came back over the block's "
            "shortcut, <skip part, total> / |total|^2 (dotted: one half); the rest came through "
            "the branch. Top: block by block in residual networks (depth at the right end), and "
            "in plain ones, which have none. Bottom: its mean over a network's blocks; crosses: "
            "what came back from the last block to the first over shortcuts alone, where it was "
            "measured. Lines: mean of "
            f"seeds; bands and bars: 95 % t intervals; points: single seeds. {lost} values are "
            "left out because the whole gradient was 0."
        )
        return style.save(made, study, "ledger", caption, formats)


def draw_parts(
    study: Study, blocks: pd.DataFrame, depth: int, formats: Sequence[str]
) -> list[Path]:
    blocks = blocks[(blocks.depth == depth) & (blocks.twin == "residual")]
    with style.figure(1, 2, height=2.5, sharey=True) as (made, axes):
        for ax, (title, moment) in zip(axes[0], MOMENTS.items(), strict=True):
            parts_by_block(at(blocks, moment), ax=ax)
            ax.set_title(f"residual, depth {depth}, {title}")
            ax.set_xlabel("block (0: first)")
        axes[0, 0].set_ylabel(r"$\|\partial L/\partial x\|$ at the input")
        axes[0, 1].legend()
        style.letter_panels(axes[0])
        caption = (
            f"Norm of the loss gradient at each block's input in residual networks of depth "
            f"{depth}, and of the two parts that add to it. Geometric mean over seeds."
        )
        return style.save(made, study, "ledger_parts", caption, formats)


def share_by_block(rows: pd.DataFrame, *, ax: Axes) -> Axes:
    """`skip_share` against a block's relative place: residual by depth, plain as one line."""
    last = rows.groupby("depth").block_index.transform("max").clip(lower=1)
    rows = rows.assign(place=rows.block_index / last)
    summary = intervals_by(rows[rows.twin == "residual"], ["depth", "place"], "skip_share")
    below = -np.inf  # labels keep a line's height between them
    for depth, color in style.depth_colors(sorted(summary.depth.unique())).items():
        line = summary[summary.depth == depth]
        ax.plot(line.place, line["mean"], color=color)
        ax.fill_between(line.place, line.low, line.high, color=color, alpha=0.15, lw=0)
        below = max(below + 0.08, line["mean"].iloc[-1])
        ax.annotate(str(depth), (1, below), (4, 0), textcoords="offset points",
                    color=color, va="center", fontsize=7)  # fmt: skip
    if (plain := rows[rows.twin == "plain"]).size:
        ax.plot(*zip(*plain.groupby("place").skip_share.mean().items(), strict=True),
                color=style.COLORS["plain"], lw=1.5)  # fmt: skip
        ax.annotate("plain", (0.5, 0), (0, 3), textcoords="offset points",
                    color=style.COLORS["plain"], ha="center", fontsize=7)  # fmt: skip
    ax.axhline(0.5, color="0.6", lw=0.8, ls=":", zorder=0)
    return ax


def share_by_depth(means: pd.DataFrame, paths: pd.DataFrame, *, ax: Axes) -> Axes:
    """`skip_share` of whole networks and `path_share` against depth."""
    summary = intervals_by(means, ["twin", "depth"], "skip_share")
    for twin, color in style.COLORS.items():
        line, seeds = summary[summary.twin == twin], means[means.twin == twin]
        reach = (line.high - line["mean"]).fillna(0)
        ax.errorbar(line.depth, line["mean"], yerr=reach, color=color, capsize=2,
                    marker=style.MARKERS[twin], label=twin)  # fmt: skip
        ax.plot(seeds.depth, seeds.skip_share, ".", color=color, alpha=0.5, markersize=3)
    ends = paths[paths.twin == "residual"]
    if len(ends):
        ends = intervals_by(ends, ["depth"], "path_share")
        reach = (ends.high - ends["mean"]).fillna(0)
        ax.errorbar(ends.depth, ends["mean"], yerr=reach, color="0.2", ls="--", lw=0.8,
                    marker="x", capsize=2, label="residual, end to end")  # fmt: skip
    ax.axhline(0.5, color="0.6", lw=0.8, ls=":", zorder=0)
    style.depth_axis(ax, sorted(means.depth.unique()))
    return ax


def parts_by_block(rows: pd.DataFrame, *, ax: Axes) -> Axes:
    """The gradient's norm and its parts' against the block's index, log axis."""
    for part, (label, color, dashes) in PARTS.items():
        line = intervals_by(rows, ["block_index"], part, log=True)
        ax.plot(line.block_index, line["mean"], color=color, ls=dashes, label=label)
    ax.set_yscale("log")
    return ax


def mean_shares(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a run: the mean of its blocks' `skip_share`."""
    keys = ["run_id", "depth", "twin", "seed"]
    return rows.groupby(keys, as_index=False, observed=True).skip_share.mean()


def steps_of(rows: pd.DataFrame, moment: str) -> "pd.Series[int]":
    """Each run's first ("min") or last ("max") measured step, by run_id."""
    found: pd.Series[int] = rows.groupby("run_id").step.agg(moment)
    return found


def at(rows: pd.DataFrame, moment: str) -> pd.DataFrame:
    """Each run's rows of its first or last measured step."""
    return rows[rows.step == rows.run_id.map(steps_of(rows, moment))]


def main() -> None:
    run_script(analyse, __doc__)
