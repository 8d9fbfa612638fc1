"""Are signals and gradients healthy? Dead units, zero gradients, signal statistics, agreement.

python analysis/health.py outputs/degradation
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gradflow.analysis.figures import plots, style
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.study import Study, at
from gradflow.analysis.tables import Cell, Table
from gradflow.records import HISTOGRAM_EDGES
from gradflow.statistics import interval

LOOKS: dict[str, dict[str, Any]] = {twin: {"color": color} for twin, color in style.COLORS.items()}
DASHED: dict[str, dict[str, Any]] = {
    twin: look | {"ls": "--", "label": None} for twin, look in LOOKS.items()
}
STATES = ("finite", "inf", "nan", "none")  # of a layer's gradient, as records.DERIVED has them


def analyze(output: Output) -> None:
    """The figures, of the deepest networks at the first step with details, and the table.

    Raises:
        GradflowError: no step was measured with details (details=off).
    """
    study = output.study
    deepest = int(study.runs.depth.max())
    signals = at(signal_statistics(study), "first")
    layers = at(study.records("layer_details", ["step", "layer_index", "zero_fraction"]), "first")
    examples = at(
        study.records("network_details", ["step", "example_cosine", "signal_to_noise"]), "first"
    )
    states = study.records("layers", ["step", "grad_state"])
    output.add_table("health", health_table(signals, layers, examples, states))
    draw(output, signals[signals.depth == deepest], layers[layers.depth == deepest], examples)
    counts = study.records("layer_details", ["step", "layer_index", "histogram"])
    draw_histograms(output, at(counts[counts.depth == deepest], "first"), deepest)


def signal_statistics(study: Study) -> pd.DataFrame:
    """A row per run, block and step with details: root mean squares of the block's input and
    branch, mean and variance of the input, and the share of dead ReLU channels."""
    keys = ["run_id", "step", "block_index"]
    details = study.records(
        "block_details", ["step", "block_index", "input_mean", "input_variance", "dead_fraction"]
    )
    sizes = study.records("blocks", ["step", "block_index", "input_rms", "branch_rms"])
    return details.merge(sizes[[*keys, "input_rms", "branch_rms"]], on=keys)


def draw(
    output: Output, signals: pd.DataFrame, layers: pd.DataFrame, examples: pd.DataFrame
) -> None:
    """Signals by block (top), gradients by layer and by depth (bottom)."""
    depth = int(signals.depth.iloc[0])
    with output.figure(2, 3, height=4.2) as (made, axes):
        sizes_by_block(signals, ax=axes[0, 0])
        moments_by_block(signals, ax=axes[0, 1])
        share_of(signals, "block_index", "dead_fraction", ax=axes[0, 2])
        share_of(layers, "layer_index", "zero_fraction", ax=axes[1, 0])
        for ax, value, title in (
            (axes[1, 1], "example_cosine", "cosine between examples"),
            (axes[1, 2], "signal_to_noise", "signal-to-noise ratio"),
        ):
            plots.medians(examples.dropna(subset=value), x="depth", y=value, ax=ax)
            ax.axhline(0, color=style.GUIDE, lw=0.8, ls=":", zorder=0)
            style.depth_axis(ax, sorted(examples.depth.unique()))
            ax.set_ylabel(title)
        axes[0, 2].set_ylabel("dead ReLU channels (%)")
        axes[1, 0].set_ylabel("gradient elements = 0 (%)")
        for ax in axes[0]:
            style.whole_axis(ax, "block (0: first)")
        style.whole_axis(axes[1, 0], "layer (0: stem)")
        style.legend(made, axes.flat)
        style.letter_panels(axes.flat)
        caption = (
            f"Health of networks at the first step with details; a-d at depth {depth}. a: root "
            "mean square of each block's input (solid) and branch (dashed). b: mean of the input "
            "over its standard deviation. c: ReLU channels that are 0 for the whole batch. d: "
            "elements of each weight's gradient that are exactly 0. e, f: mean cosine of two "
            "examples' gradients, and the squared norm of the mean gradient over the variance of "
            f"examples, against depth. Lines: median over {output.study.seeds}; bands: from the "
            "lowest to the highest seed; open marks: single seeds."
        )
        output.add_figure(made, "health", caption)


def sizes_by_block(signals: pd.DataFrame, *, ax: Axes) -> Axes:
    """Root mean square of a block's input and branch on a log axis."""
    for value, looks in (("input_rms", LOOKS), ("branch_rms", DASHED)):
        plots.curves(signals, x="block_index", y=value, looks=looks, ax=ax, log=True)
    ax.set_ylabel("root mean square")
    return ax


def moments_by_block(signals: pd.DataFrame, *, ax: Axes) -> Axes:
    """Mean of a block's input over its standard deviation."""
    spread = np.sqrt(signals.input_variance.where(signals.input_variance > 0).astype(float))
    shifts = signals.assign(shift=signals.input_mean / spread).dropna(subset="shift")
    plots.curves(shifts, x="block_index", y="shift", looks=LOOKS, ax=ax)
    ax.set_ylabel("input mean / st. dev.")
    return ax


def share_of(rows: pd.DataFrame, index: str, value: str, *, ax: Axes) -> Axes:
    """A share, recorded as 0 ... 1, in percent by block or layer."""
    rows = rows.dropna(subset=value)
    rows = rows.assign(percent=100 * rows[value].astype(float))
    plots.curves(rows, x=index, y="percent", looks=LOOKS, ax=ax)
    top = max(1.0, 1.08 * rows.percent.max())
    ax.set_ylim(-0.04 * top, top)
    return ax


def draw_histograms(output: Output, counts: pd.DataFrame, depth: int) -> None:
    """Sizes of gradient elements by layer, a panel per twin."""
    with output.figure(1, 2, height=2.6, sharey=True) as (made, axes):
        plots.twin_surfaces(
            shares_by_size(counts),
            made=made,
            x="layer_index",
            y="size",
            value="share",
            axes=axes[0],
            label="share of the layer's elements",
        )
        axes[0, 0].set_yscale("log")
        for ax, twin in zip(axes[0], style.COLORS, strict=True):
            ax.set_title(f"{twin}, depth {depth}")
            style.whole_axis(ax, "layer (0: stem)")
        axes[0, 0].set_ylabel("size of gradient elements")
        style.letter_panels(axes[0])
        caption = (
            "Absolute size of the elements of each weight's gradient, in half decades, at depth "
            f"{depth} at the first step with details: share of the layer's elements that are not "
            "0, median over seeds."
        )
        output.add_figure(made, "gradient_histogram", caption)


def shares_by_size(counts: pd.DataFrame) -> pd.DataFrame:
    """A row per run, layer and bin that holds an element: `size`, the middle of the bin, and
    `share`, its part of the layer's elements that are not 0."""
    edges = np.log10(HISTOGRAM_EDGES)
    half = (edges[1] - edges[0]) / 2
    sizes = 10.0 ** np.append(edges - half, edges[-1] + half)
    counts = counts.dropna(subset="histogram")
    rows = counts.assign(bin=counts["histogram"].map(lambda _: range(len(sizes))))
    rows = rows.explode(["histogram", "bin"]).rename(columns={"histogram": "count"})
    rows = rows.astype({"count": float, "bin": int})
    rows = rows.assign(size=sizes[rows["bin"].to_numpy()])
    whole = rows.groupby(["run_id", "step", "layer_index"])["count"].transform("sum")
    return rows.assign(share=rows["count"] / whole)[rows["count"] > 0]


def health_table(
    signals: pd.DataFrame, layers: pd.DataFrame, examples: pd.DataFrame, states: pd.DataFrame
) -> Table:
    """A row per depth and twin; the states of gradients count layers at every measured step."""
    titles = {
        "dead": "dead ReLU channels, worst block (%)",
        "zero": "gradient elements that are 0, worst layer (%)",
        "cosine": "cosine of two examples' gradients (95 % interval)",
        "noise": "signal-to-noise (95 % interval)",
    }
    rows: list[dict[str, Cell]] = []
    for depth, twin in sorted(set(zip(examples.depth, examples.twin, strict=True))):
        dead, zero, found, seen = (
            frame[(frame.depth == depth) & (frame.twin == twin)]
            for frame in (signals, layers, examples, states)
        )
        row: dict[str, Cell] = {
            "depth": int(depth),
            "network": twin,
            titles["dead"]: 100 * float(dead.groupby("run_id").dead_fraction.max().mean()),
            titles["zero"]: 100 * float(zero.groupby("run_id").zero_fraction.max().mean()),
            titles["cosine"]: interval(found.example_cosine.dropna()),
            titles["noise"]: interval(found.signal_to_noise.dropna()),
        }
        for state in STATES:
            row[f"gradients, {state}"] = int((seen.grad_state == state).sum())
        rows.append(row)
    return Table(rows, {titles["cosine"]: ".3f", titles["noise"]: ".2g"})


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__)
