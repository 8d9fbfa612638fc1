"""Which way does the gradient come back? Its share over shortcuts, by block, depth and moment.

python analysis/ledger.py outputs/degradation
"""

import pandas as pd
from matplotlib.axes import Axes

from gradflow.analysis.figures import plots, style
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.study import MOMENTS, Study, at
from gradflow.core.errors import GradflowError

PARTS = {
    "input_grad_norm": ("all of it", "0.2", "-"),
    "skip_grad_norm": ("over the shortcut", style.COLORS["residual"], "--"),
    "branch_grad_norm": ("through the branch", style.COLORS["plain"], ":"),
    "elsewhere_grad_norm": ("over other uses of the input", "0.45", "-."),
}


def analyze(output: Output) -> None:
    """The figures of a study.

    Raises:
        GradflowError: no block of it has a ledger.
    """
    study = output.study
    columns = ["step", "block_index", "skip_share", "stream_shares", "reason", *PARTS]
    blocks = study.records("blocks", columns)
    if blocks.skip_share.isna().all():
        reasons = blocks.reason.dropna().value_counts().index
        why = f"such as: {reasons[0]}" if len(reasons) else "every probe but probe=off records it"
        raise GradflowError(
            f"{study.folder}: no block has a ledger (skip_share is null in all rows); {why}"
        )
    draw_shares(output, blocks, path_shares(study))
    deepest = int(study.runs.depth.max())
    draw_parts(output, blocks, deepest)
    draw_streams(output, streams_of(blocks[blocks.depth == deepest]), deepest)


def path_shares(study: Study) -> pd.DataFrame:
    """Rows of `path_share`; none if no step was measured with details."""
    columns = ["step", "path_share"]
    try:
        return study.records("network_details", columns)
    except GradflowError:
        return pd.DataFrame(columns=["run_id", *columns, "depth", "twin", "seed"])


def draw_shares(output: Output, blocks: pd.DataFrame, paths: pd.DataFrame) -> None:
    """Shares by block and by depth, at the first and at the last measured step."""
    lost = int((blocks.skip_share.isna() & blocks.branch_grad_norm.notna()).sum())
    with output.figure(2, 2, height=4.4, sharey="row") as (made, axes):
        for column, (moment, title) in enumerate(MOMENTS.items()):
            rows = at(blocks, moment).dropna(subset="skip_share")
            share_by_block(rows, ax=axes[0, column])
            axes[0, column].set_title(title)
            axes[0, column].set_xlabel("block (0: first, 1: last)")
            measured = at(blocks, moment)[["run_id", "step"]].drop_duplicates()
            ends = paths.merge(measured, on=["run_id", "step"])
            share_by_depth(mean_shares(rows), ends.dropna(subset="path_share"), ax=axes[1, column])
        axes[0, 0].set_ylabel("share over the shortcut")
        axes[1, 0].set_ylabel("mean over blocks")
        depths = sorted(blocks[blocks.twin == "residual"].depth.unique())
        style.legend(made, axes[1], handles=style.depth_handles(depths))
        style.letter_panels(axes.flat)
        caption = (
            "Share of the loss gradient at a block's input that came back over the block's "
            "shortcut, <skip part, total> / |total|^2 (dotted: one half); the rest came through "
            "the branch. Top: block by block in residual networks, a shade per depth, and in "
            "plain ones, which have none. Bottom: its mean over a network's blocks; end to end: "
            "the share from the last block to the first over shortcuts alone, if measured. "
            "Lines: median of seeds; bands: from the lowest to the highest; open marks: single "
            f"seeds. {lost} values are left out because the whole gradient was 0."
        )
        if blocks.stream_shares.notna().any():
            caption += " Of blocks of several streams it is of all streams together."
        output.add_figure(made, "ledger", caption)


def draw_parts(output: Output, blocks: pd.DataFrame, depth: int) -> None:
    """Norms of the two parts of residual networks of one depth."""
    blocks = blocks[(blocks.depth == depth) & (blocks.twin == "residual")]
    with output.figure(1, 2, height=2.5, sharey=True) as (made, axes):
        for ax, (moment, title) in zip(axes[0], MOMENTS.items(), strict=True):
            parts_by_block(at(blocks, moment), ax=ax)
            ax.set_title(f"residual, depth {depth}, {title}")
            style.whole_axis(ax, "block (0: first)")
        axes[0, 0].set_ylabel(r"$\|\partial L/\partial x\|$ at the input")
        style.legend(made, axes[0])
        style.letter_panels(axes[0])
        caption = (
            f"Norm of the loss gradient at each block's input in residual networks of depth "
            f"{depth}, and of the two parts that add to it. Lines: median of seeds; bands: from "
            "the lowest to the highest."
        )
        output.add_figure(made, "ledger_parts", caption)


def streams_of(blocks: pd.DataFrame) -> pd.DataFrame:
    """A row per stream of each block that has several: `stream`, and `share` of the gradient."""
    rows = blocks.dropna(subset="stream_shares")
    rows = rows.assign(stream=rows.stream_shares.map(lambda shares: range(len(shares))))
    rows = rows.explode(["stream", "stream_shares"])
    return rows.assign(share=rows.stream_shares.astype(float))


def draw_streams(output: Output, rows: pd.DataFrame, depth: int) -> None:
    """The share of each stream by block, a row of panels per twin; nothing if none has several."""
    twins = [twin for twin in style.COLORS if (rows.twin == twin).any()]
    if not twins:
        return
    size = {"height": 0.6 + 1.9 * len(twins), "sharey": True}
    with output.figure(len(twins), 2, **size) as (made, axes):
        for twin, line in zip(twins, axes, strict=True):
            for ax, (moment, title) in zip(line, MOMENTS.items(), strict=True):
                share_by_stream(at(rows[rows.twin == twin], moment), ax=ax)
                ax.set_title(f"{twin}, depth {depth}, {title}")
            line[0].set_ylabel("share of the gradient")
        for ax in axes[-1]:
            style.whole_axis(ax, "block (0: first)")
        style.legend(made, axes.flat, title="stream")
        style.letter_panels(axes.flat)
        caption = (
            f"Share of each stream in the squared loss gradient at the input of blocks of several "
            f"streams, networks of depth {depth} (dotted: equal shares). The other figures of the "
            "ledger are of all streams together: their shortcut is what carries the streams past "
            "the branch, mixed or not. Lines: median of seeds; bands: from the lowest to the "
            "highest."
        )
        output.add_figure(made, "ledger_streams", caption)


def share_by_stream(rows: pd.DataFrame, *, ax: Axes) -> Axes:
    """`share` against the block's index, a line per `stream`."""
    streams = sorted(rows.stream.unique())
    looks = {stream: {"color": color} for stream, color in style.depth_colors(streams).items()}
    plots.curves(rows, x="block_index", y="share", hue="stream", looks=looks, ax=ax)
    if streams:
        ax.axhline(1 / len(streams), color=style.GUIDE, lw=0.8, ls=":", zorder=0)
    ax.set_ylim(-0.03, 1.03)
    return ax


def share_by_block(rows: pd.DataFrame, *, ax: Axes) -> Axes:
    """`skip_share` against a block's relative place: residual by depth, plain as one line."""
    last = rows.groupby("depth").block_index.transform("max").clip(lower=1)
    rows = rows.assign(place=rows.block_index / last)
    residual = rows[rows.twin == "residual"]
    shades = style.depth_colors(sorted(residual.depth.unique()))
    looks = {depth: {"color": color} for depth, color in shades.items()}
    plots.curves(residual, x="place", y="skip_share", hue="depth", looks=looks, ax=ax)
    if (plain := rows[rows.twin == "plain"]).size:
        ax.plot(*zip(*plain.groupby("place").skip_share.median().items(), strict=True),
                color=style.COLORS["plain"], lw=1.5)  # fmt: skip
    ax.axhline(0.5, color=style.GUIDE, lw=0.8, ls=":", zorder=0)
    return ax


def share_by_depth(means: pd.DataFrame, paths: pd.DataFrame, *, ax: Axes) -> Axes:
    """`skip_share` of whole networks and `path_share` against depth."""
    plots.medians(means, x="depth", y="skip_share", ax=ax)
    ends = paths[paths.twin == "residual"].assign(line="residual, end to end")
    look = {"color": "0.2", "ls": "--", "lw": 0.8, "marker": "x"}
    looks = {"residual, end to end": look}
    plots.medians(ends, x="depth", y="path_share", hue="line", looks=looks, ax=ax)
    ax.axhline(0.5, color=style.GUIDE, lw=0.8, ls=":", zorder=0)
    style.depth_axis(ax, sorted(means.depth.unique()))
    return ax


def parts_by_block(rows: pd.DataFrame, *, ax: Axes) -> Axes:
    """The gradient's norm and its parts' against the block's index, log axis."""
    for part, (label, color, dashes) in PARTS.items():
        if not (rows[part] > 0).any():
            continue  # in most networks a block's input is used by the block alone
        looks = {label: {"color": color, "ls": dashes}}
        named = rows.assign(part=label)
        plots.curves(named, x="block_index", y=part, hue="part", looks=looks, ax=ax, log=True)
    ax.set_yscale("log")
    return ax


def mean_shares(rows: pd.DataFrame) -> pd.DataFrame:
    """A row per run: the mean of its blocks' `skip_share`."""
    keys = ["run_id", "depth", "twin", "seed"]
    return rows.groupby(keys, observed=True)["skip_share"].mean().reset_index()


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__)
