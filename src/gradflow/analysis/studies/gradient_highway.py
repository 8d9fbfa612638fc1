"""How does the gradient get through? Its norm by layer, step and depth, plain and residual.

python analysis/gradient_highway.py outputs/degradation
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm

from gradflow.analysis.figures import style
from gradflow.analysis.study import Study, run_script
from gradflow.statistics import intervals_by


def analyse(study: Study, formats: Sequence[str]) -> list[Path]:
    """The three figures of a study; profiles and heatmaps are of its deepest networks."""
    deepest = int(study.runs.depth.max())
    layers = study.records("layers", ["step", "layer_index", "grad_norm"])
    blocks = study.records("blocks", ["step", "block_index", "input_grad_norm"])
    return [
        *draw_profiles(study, layers, blocks, deepest, formats),
        *draw_heatmaps(study, layers, deepest, formats),
        *draw_ratios(study, blocks, formats),
    ]


def draw_profiles(
    study: Study, layers: pd.DataFrame, blocks: pd.DataFrame, depth: int, formats: Sequence[str]
) -> list[Path]:
    layers, blocks = layers[layers.depth == depth], blocks[blocks.depth == depth]
    with style.figure(2, 2, height=4.2, sharey="row") as (made, axes):
        moments = {"at initialisation": "first", "at the last step": "last"}
        for column, (title, moment) in enumerate(moments.items()):
            profile(_at(layers, moment), "layer_index", "grad_norm", ax=axes[0, column])
            profile(_at(blocks, moment), "block_index", "input_grad_norm", ax=axes[1, column])
            axes[0, column].set_title(f"depth {depth}, {title}")
            axes[0, column].set_xlabel("layer (0: stem)")
            axes[1, column].set_xlabel("block (0: first; the last is the head's input)")
        axes[0, 0].set_ylabel(r"$\|\partial L/\partial W\|$")
        axes[1, 0].set_ylabel(r"$\|\partial L/\partial x\|$ at the input")
        axes[0, 0].legend()
        style.letter_panels(axes.flat)
        caption = (
            f"Gradient norms through networks of depth {depth}: of the loss by each layer's weight "
            "(top) and by each block's input (bottom), at initialisation (left) and at the last "
            "step (right). Thin lines: single seeds; thick: their geometric mean."
        )
        return style.save(made, study, "gradient_profile", caption, formats)


def draw_heatmaps(
    study: Study, layers: pd.DataFrame, depth: int, formats: Sequence[str]
) -> list[Path]:
    layers = layers[(layers.depth == depth) & (layers.grad_norm > 0)]
    scale = LogNorm(layers.grad_norm.min(), layers.grad_norm.max())
    with style.figure(1, 2, height=2.6, sharey=True) as (made, axes):
        for ax, twin in zip(axes[0], style.COLORS, strict=True):
            mesh = heatmap(layers[layers.twin == twin], ax=ax, scale=scale)
            ax.set_title(f"{twin}, depth {depth}")
            ax.set_xlabel("step")
        axes[0, 0].set_ylabel("layer (0: stem)")
        made.colorbar(mesh, ax=list(axes[0]), label=r"$\|\partial L/\partial W\|$", pad=0.01)
        style.letter_panels(axes[0])
        caption = (
            f"Norm of the loss gradient by each layer's weight, layer by layer and step by step, "
            f"at depth {depth}: geometric mean over seeds, one colour scale."
        )
        return style.save(made, study, "gradient_heatmap", caption, formats)


def draw_ratios(study: Study, blocks: pd.DataFrame, formats: Sequence[str]) -> list[Path]:
    with style.figure(1, 2, height=2.4) as (made, axes):
        moments = {"at initialisation": "first", "at the last step": "last"}
        for ax, (title, moment) in zip(axes[0], moments.items(), strict=True):
            ratios = end_ratios(_at(blocks, moment))
            ratio_against_depth(ratios, ax=ax)
            # Room for every seed; an interval over seeds that differ by decades may be cut.
            seen = ratios.ratio[ratios.ratio > 0]
            ax.set_ylim(seen.min() / 10, seen.max() * 10)
            ax.set_title(title)
        axes[0, 0].set_ylabel("first / last block's input")
        axes[0, 1].legend(loc="lower left")
        style.letter_panels(axes[0])
        caption = (
            "Norm of the loss gradient at the first block's input over that at the last block's "
            "input: above 1 it explodes on its way back, below 1 it vanishes. Small marks: single "
            "seeds; lines: geometric mean; bars: 95 % t intervals of the logarithm, which may "
            "leave the frame."
        )
        return style.save(made, study, "gradient_ratio", caption, formats)


def profile(rows: pd.DataFrame, index: str, value: str, *, ax: Axes) -> Axes:
    """`value` against `index` on a log axis: thin lines for runs, thick for their mean.

    Single seeds rather than an interval: where one of three networks vanishes and another
    does not, the interval of their mean says less than the three lines.
    """
    rows = rows[rows[value] > 0].sort_values(index)
    summary = intervals_by(rows, ["twin", index], value, log=True)
    for twin, color in style.COLORS.items():
        for _, run in rows[rows.twin == twin].groupby("run_id"):
            ax.plot(run[index], run[value], color=color, alpha=0.5, lw=0.5)
        line = summary[summary.twin == twin]
        ax.plot(line[index], line["mean"], color=color, label=twin)
    ax.set_yscale("log")
    return ax


def heatmap(layers: pd.DataFrame, *, ax: Axes, scale: LogNorm) -> QuadMesh:
    """Layer x step, coloured by the geometric mean of `grad_norm`."""
    logs = layers.assign(log=np.log(layers.grad_norm))
    grid = np.exp(logs.pivot_table(index="layer_index", columns="step", values="log"))
    return ax.pcolormesh(
        grid.columns, grid.index, grid, norm=scale, cmap="viridis", rasterized=True
    )


def end_ratios(blocks: pd.DataFrame) -> pd.DataFrame:
    """A row a run: `ratio` of the first block's input gradient norm to the last block's."""
    keys = ["run_id", "depth", "twin", "seed"]
    final = blocks.groupby("run_id").block_index.transform("max") - 1  # the head's input follows
    first, last = (
        blocks[blocks.block_index == index].set_index(keys).input_grad_norm for index in (0, final)
    )
    return (first / last).rename("ratio").reset_index()


def ratio_against_depth(ratios: pd.DataFrame, *, ax: Axes) -> Axes:
    """`ratio` against depth on a log axis, with the line where nothing is gained or lost."""
    summary = intervals_by(ratios, ["twin", "depth"], "ratio", log=True)
    for twin, color in style.COLORS.items():
        line = summary[summary.twin == twin]
        low, high = line.low.fillna(line["mean"]), line.high.fillna(line["mean"])
        ax.errorbar(
            line.depth,
            line["mean"],
            yerr=[line["mean"] - low, high - line["mean"]],
            color=color,
            marker=style.MARKERS[twin],
            capsize=2,
            label=twin,
        )
        seeds = ratios[ratios.twin == twin]
        ax.plot(seeds.depth, seeds.ratio, ".", color=color, alpha=0.5, markersize=3)
    ax.axhline(1, color="0.6", lw=0.8, ls=":", zorder=0)
    ax.set_yscale("log")
    style.depth_axis(ax, sorted(ratios.depth.unique()))
    return ax


def _at(rows: pd.DataFrame, moment: str) -> pd.DataFrame:
    """Each run's rows of its first or last measured step."""
    return rows[
        rows.step == rows.groupby("run_id").step.transform("min" if moment == "first" else "max")
    ]


def main() -> None:
    run_script(analyse, __doc__)
