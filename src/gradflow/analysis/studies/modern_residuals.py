"""What do the residual designs of today do to the gradient over depth, and to what is learned?

python analysis/modern_residuals.py outputs/modern_residuals
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gradflow.analysis.figures import plots, style
from gradflow.analysis.frames import groups
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.study import at
from gradflow.analysis.tables import Cell, Table
from gradflow.analysis.task_words import loss_name
from gradflow.core.errors import GradflowError
from gradflow.statistics import geometric_interval, interval
from gradflow.verdict.gradient import end_to_end

SWEPT = ("network_placement", "network_norm", "network_qk_norm", "network_connection")

NAMES = {
    "pre_norm": "pre-norm",
    "post_norm": "post-norm",
    "peri_norm": "Peri-LN",
    "sandwich": "sandwich",
    "hybrid": "HybridNorm",
    "layer_norm_scaling": "LayerNorm scaling",
    "deep_norm": "DeepNorm",
    "dyt": "DyT",
    "qk_norm": "QK-norm",
    "highway": "highway",
    "value_residual": "value residual",
    "hyper": "hyper-connections",
    "dynamic_hyper": "HC, dynamic",
    "manifold_hyper": "mHC",
    "reversible": "RevNet",
    "attention_residual": "attention residuals",
    "dense": "DenseFormer",
}
"""A design and how it is called; the first is what the others differ from in one thing."""

BASE = next(iter(NAMES))
COLORS = (
    "#000000", "#B8500B", "#0072B2", "#00785A", "#A4336F",
    "#7A5C00", "#7A4FB5", "#C0392B", "#2F7F9E",
)  # fmt: skip
MARKERS = "osD^vPX*p"
FAMILIES = {"norms": list(NAMES)[:9], "connections": [BASE, *list(NAMES)[9:]]}
"""What designs of a column differ in -> the designs."""
LOOKS: dict[str, dict[str, Any]] = {
    NAMES[design]: {"color": color, "marker": marker, "lw": 1.0, "markersize": 3.5}
    for designs in FAMILIES.values()
    for design, color, marker in zip(designs, COLORS, MARKERS, strict=False)
}
FLOOR = 1e-3  # what is below it has a mark at a panel's edge: the rest would lie on one another
SPREAD = 0.5  # of the distance of two depths, which the marks of all designs take


def analyze(output: Output) -> None:
    """The figure and the table.

    Raises:
        GradflowError: no run has a design that is compared here.
    """
    runs = output.study.runs
    runs = runs.assign(design=names(runs)).dropna(subset="design")
    if runs.empty:
        raise GradflowError(f"no run has a design that is compared: {', '.join(NAMES)}")
    if lost := len(output.study.runs) - len(runs):
        print(f"note: left out: {lost} runs of other designs")
    known = runs[["run_id", "design"]]
    columns = ["step", "block_index", "input_grad_norm", "input_rms", "skip_share"]
    blocks = output.study.records("blocks", columns).merge(known)
    states = output.study.records("layers", ["step", "grad_state"]).merge(known)
    ratios = end_to_end(blocks).merge(known)
    output.add_table("modern_residuals", design_table(runs, blocks, ratios, states))
    draw(output, runs, blocks, ratios)


def names(runs: pd.DataFrame) -> "pd.Series[Any]":
    """What each run's design is called; None if it differs from `BASE` in several things, or in
    one that is not compared."""

    def name(row: Any) -> str | None:
        found: list[str] = []
        if row.network_placement != BASE:
            found.append(row.network_placement)
        if row.network_norm != "layer":
            found.append(row.network_norm)
        if row.network_qk_norm is True:
            found.append("qk_norm")
        # Runs of image transformers before there were connections have none.
        if pd.notna(row.network_connection) and row.network_connection != "residual":
            found.append(row.network_connection)
        return NAMES.get(found[0] if found else BASE) if len(found) < 2 else None

    return pd.Series([name(row) for row in runs[list(SWEPT)].itertuples()], index=runs.index)


def draw(output: Output, runs: pd.DataFrame, blocks: pd.DataFrame, ratios: pd.DataFrame) -> None:
    """Loss and gradient against depth, and the stream by block; two columns per family."""
    deepest = int(runs.depth.max())
    first = at(blocks, "first")
    stream = first.assign(square=first.input_rms.astype(float) ** 2)[first.depth == deepest]
    # Beyond float32: a mark at the edge.
    beyond = np.where(ratios.ratio < 1, 0.0, np.inf)
    ratios = ratios.assign(ratio=ratios.ratio.where(~ratios.is_bound.astype(bool), beyond))
    ratios = at(ratios, "first")
    columns = [(family, twin) for family in FAMILIES for twin in ("residual", "plain")]
    with output.figure(3, len(columns), height=6.8, sharey="row") as (made, axes):
        for (family, twin), (top, middle, bottom) in zip(columns, axes.T, strict=True):
            looks = {NAMES[d]: LOOKS[NAMES[d]] for d in FAMILIES[family]}
            of_twin = [frame[frame.twin == twin] for frame in (runs, ratios, stream)]
            against_depth(of_twin[0], "final_train_loss", looks, lost="diverged", ax=top)
            against_depth(of_twin[1], "ratio", looks, lost="not finite", ax=middle, log=True)
            middle.axhline(1, color=style.GUIDE, lw=0.8, ls=":", zorder=0)
            stream_by_block(of_twin[2], looks, ax=bottom)
            top.set_title(f"{family}, {twin}")
        finite = ratios.ratio[np.isfinite(ratios.ratio) & (ratios.ratio >= FLOOR)]
        if len(finite):
            axes[1, 0].set_ylim(min(finite.min(), 1) / 4, max(finite.max(), 1) * 4)
        axes[0, 0].set_ylabel(loss_name(runs))
        axes[1, 0].set_ylabel("gradient, first / last block")
        axes[2, 0].set_ylabel("stream, mean square")
        style.legend(made, axes.flat)
        style.letter_panels(axes[:, 0])
        caption = (
            "Residual designs of transformers and their plain twins, whose blocks have the "
            "branch alone. Left: placements of the norm, and what takes its place; right: "
            "connections of pre-norm blocks; black: pre-norm blocks with x + F(x), in both. "
            "The plain twin of value residual keeps the first attention's values, which pass "
            "all blocks. a: training loss after the last step, against depth, all at one "
            "learning rate. b: at initialization, norm of the gradient at the first block's "
            "input over that at the last block's output; dotted: 1. c: mean square of what "
            f"enters each block of depth {deepest}, at initialization; lines end below "
            f"{FLOOR:g}. Norms and squares are over all streams, or slots, of a connection that "
            "has several. Open marks: single seeds; lines: their median; bands: from the lowest "
            f"to the highest of {output.study.seeds}. Depths are set apart by design."
        )
        output.add_figure(made, "modern_residuals", caption)


def against_depth(
    rows: pd.DataFrame, value: str, looks: plots.Looks, *, lost: str, ax: Axes, log: bool = False
) -> Axes:
    """A value by depth, each depth at a place of its own and the designs beside each other."""
    depths = sorted(rows.depth.unique())
    step = SPREAD / max(1, len(looks) - 1)
    shifts = {name: step * place - SPREAD / 2 for place, name in enumerate(looks)}
    rows = rows[rows.design.isin(list(looks))]
    rows = rows.assign(place=rows.depth.map(depths.index) + rows.design.map(shifts))
    if log:
        rows = rows.assign(**{value: rows[value].mask(rows[value] < FLOOR, 0.0)})
    plots.medians(rows, x="place", y=value, hue="design", looks=looks, ax=ax, log=log, lost=lost)
    for line in ax.lines:
        if (label := str(line.get_label())).endswith(", 0"):
            line.set_label(f"{label.removesuffix('0')}below {FLOOR:g}")
    ax.set_xticks(range(len(depths)), [str(depth) for depth in depths])
    ax.set_xlim(-0.5, len(depths) - 0.5)
    ax.set_xlabel("depth")
    return ax


def stream_by_block(rows: pd.DataFrame, looks: plots.Looks, *, ax: Axes) -> Axes:
    """The mean square of each block's input on a log axis, as long as it is above `FLOOR`."""
    rows = rows[~(rows.square < FLOOR)]
    bare = {name: {**look, "marker": None, "label": "_"} for name, look in looks.items()}
    plots.curves(rows, x="block_index", y="square", hue="design", looks=bare, ax=ax, log=True)
    style.whole_axis(ax, "block (0: first)")
    return ax


def design_table(
    runs: pd.DataFrame, blocks: pd.DataFrame, ratios: pd.DataFrame, states: pd.DataFrame
) -> Table:
    """By design and depth: loss of both twins, gradient ratios, share of the skip, growth."""
    initial, shares = at(ratios, "first"), at(blocks, "first")
    ends = shares.dropna(subset="input_rms").sort_values("block_index").groupby("run_id").input_rms
    growth = (ends.last().astype(float) / ends.first().astype(float)) ** 2
    share = shares.groupby("run_id").skip_share.median()
    unhealthy = states[states.grad_state.isin(["inf", "nan"])].groupby("run_id").size()
    rows: list[dict[str, Cell]] = []
    order = {name: place for place, name in enumerate(NAMES.values())}
    ranked = runs.assign(rank=runs.design.map(order))
    for (_, depth), group in groups(ranked, ["rank", "depth"]):
        row: dict[str, Cell] = {"design": group.design.iloc[0], "depth": int(depth)}
        for twin in ("residual", "plain"):
            own = group[group.twin == twin]
            found = initial[initial.run_id.isin(own.run_id)].ratio.dropna()
            row[f"{twin}, loss (95 % interval)"] = interval(own.final_train_loss.dropna())
            row[f"{twin}, gradient ratio"] = geometric_interval(found)
        residual = group[group.twin == "residual"].run_id
        row["skip share, median block"] = float(share.reindex(residual).median())
        row["stream, last block over first"] = float(growth.reindex(residual).median())
        row["layers with gradients not finite"] = int(unhealthy.reindex(group.run_id).sum())
        row["diverged"] = int(group.diverged_at.notna().sum())
        rows.append(row | {"seeds": int(group.seed.nunique())})
    note = (
        "Loss: of training, after the last step, in evaluation mode. Gradient ratio, skip share "
        "(of the gradient at a block's input) and stream (mean square) are at initialization."
    )
    formats = {title: ".3g" for title in rows[0] if "ratio" in title or "stream" in title}
    formats |= {title: ".3f" for title in rows[0] if "loss" in title}
    return Table(rows, formats | {"skip share, median block": ".2f"}, note=note)


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__, swept=SWEPT)
