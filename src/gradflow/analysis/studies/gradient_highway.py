"""How does the gradient pass through the network? Its norm by layer, step and depth.

python analysis/gradient_highway.py outputs/degradation
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gradflow.analysis.figures import plots, style
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.study import MOMENTS, at
from gradflow.verdict.gradient import end_to_end


def analyze(output: Output) -> None:
    """The three figures of a study; profiles and heatmaps are of its deepest networks."""
    study = output.study
    deepest = int(study.runs.depth.max())
    layers = study.records("layers", ["step", "layer_index", "grad_norm"])
    blocks = study.records("blocks", ["step", "block_index", "input_grad_norm"])
    draw_profiles(output, layers, blocks, deepest)
    draw_heatmaps(output, layers, deepest)
    draw_ratios(output, end_to_end(blocks))


def draw_profiles(output: Output, layers: pd.DataFrame, blocks: pd.DataFrame, depth: int) -> None:
    """By layer and by block, at the first and at the last measured step."""
    layers, blocks = layers[layers.depth == depth], blocks[blocks.depth == depth]
    with output.figure(2, 2, height=4.2, sharey="row") as (made, axes):
        for column, (moment, title) in enumerate(MOMENTS.items()):
            top, bottom = axes[:, column]
            plots.profile(at(layers, moment), x="layer_index", y="grad_norm", ax=top)
            plots.profile(at(blocks, moment), x="block_index", y="input_grad_norm", ax=bottom)
            top.set_title(f"depth {depth}, {title}")
            style.whole_axis(top, "layer (0: stem)")
            style.whole_axis(bottom, "block (0: first; the last is the head's input)")
        axes[0, 0].set_ylabel(r"$\|\partial L/\partial W\|$")
        axes[1, 0].set_ylabel(r"$\|\partial L/\partial x\|$ at the input")
        style.legend(made, axes.flat)
        style.letter_panels(axes.flat)
        caption = (
            f"Gradient norms through networks of depth {depth}: of the loss by each layer's weight "
            "(top) and by each block's input (bottom), at initialization (left) and at the last "
            "step (right). Thin lines: single seeds; thick: their median. Gaps in a line, and "
            "ticks at the edge, are gradients that are 0 or not finite."
        )
        output.add_figure(made, "gradient_profile", caption)


def draw_heatmaps(output: Output, layers: pd.DataFrame, depth: int) -> None:
    """By layer and step, a panel per twin."""
    with output.figure(1, 2, height=2.6, sharey=True) as (made, axes):
        plots.twin_surfaces(
            layers[layers.depth == depth],
            made=made,
            x="step",
            y="layer_index",
            value="grad_norm",
            axes=axes[0],
            label=r"$\|\partial L/\partial W\|$",
        )
        for ax, twin in zip(axes[0], style.COLORS, strict=True):
            ax.set_title(f"{twin}, depth {depth}")
            style.whole_axis(ax, "step")
        style.whole_axis(axes[0, 0], "layer (0: stem)", axis="y")
        style.letter_panels(axes[0])
        caption = (
            f"Norm of the loss gradient by each layer's weight, by layer and step, at depth "
            f"{depth}: median over seeds, one color scale; gray: 0 or not finite."
        )
        output.add_figure(made, "gradient_heatmap", caption)


def draw_ratios(output: Output, ratios: pd.DataFrame) -> None:
    """The end-to-end ratio against depth, at the first and at the last measured step."""
    with output.figure(1, 2, height=2.4) as (made, axes):
        for ax, (moment, title) in zip(axes[0], MOMENTS.items(), strict=True):
            ratio_against_depth(at(ratios, moment), ax=ax).set_title(title)
        axes[0, 0].set_ylabel("end-to-end gradient ratio")
        style.legend(made, axes[0])
        style.letter_panels(axes[0])
        caption = (
            "End-to-end ratio: norm of the loss gradient at the first block's input over that at "
            "the last block's output. Above 1 the gradient grows on its way back, below 1 it "
            "shrinks. Open marks: single seeds; lines: their median. Crosses at the upper edge: "
            "runs without a finite ratio; triangles: ratios beyond what a float32 holds."
        )
        output.add_figure(made, "gradient_ratio", caption)


def ratio_against_depth(ratios: pd.DataFrame, *, ax: Axes) -> Axes:
    """`ratio` against depth on a log axis, with a line at 1."""
    # A bound has no place on the axis: below it as 0, above it as infinity.
    beyond = np.where(ratios.ratio < 1, 0.0, np.inf)
    shown = ratios.assign(ratio=ratios.ratio.where(~ratios.is_bound.astype(bool), beyond))
    plots.medians(shown, x="depth", y="ratio", ax=ax, log=True, lost="not finite")
    ax.axhline(1, color=style.GUIDE, lw=0.8, ls=":", zorder=0)
    style.depth_axis(ax, sorted(ratios.depth.unique()))
    numbers = shown.ratio[np.isfinite(shown.ratio) & (shown.ratio > 0)]
    if len(numbers):
        ax.set_ylim(min(numbers.min(), 1) / 4, max(numbers.max(), 1) * 4)
    return ax


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__)
