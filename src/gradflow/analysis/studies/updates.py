"""How far does a step move each layer? Update-to-weight ratio by layer and step.

python analysis/updates.py outputs/degradation
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gradflow.analysis.figures import plots, style
from gradflow.analysis.frames import groups
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.study import MOMENTS, at
from gradflow.analysis.tables import Cell, Table
from gradflow.core.errors import GradflowError

EARLY = 10  # step: what is out of proportion at the first one has settled or failed by then
USUAL = 1e-3  # the rule of thumb for a step's size relative to the weights
RATIO = r"$\|\Delta W\| / \|W\|$"


def analyze(output: Output) -> None:
    """The figures, of the deepest networks.

    Raises:
        GradflowError: no update was recorded.
    """
    study = output.study
    deepest = int(study.runs.depth.max())
    columns = ["step", "layer_index", "relative_update", "weight_norm"]
    every = study.records("layers", columns).dropna(subset="relative_update")
    every = every[np.isfinite(every.relative_update)]
    layers = every[every.depth == deepest]
    if not (layers.relative_update > 0).any():
        raise GradflowError(f"{study.folder}: no layer of depth {deepest} has a recorded update")
    spreads = spread_over_layers(every)
    output.add_table("effective_rates", spread_table(spreads))
    draw_spreads(output, spreads)
    draw_profiles(output, layers, deepest)
    draw_heatmaps(output, layers, deepest)
    columns = ["step", "grad_norm", "clipped_grad_norm", "learning_rate"]
    steps = study.records("steps", columns)
    draw_steps(output, steps[steps.depth == deepest], deepest)


def spread_over_layers(layers: pd.DataFrame) -> pd.DataFrame:
    """`decades` between the largest and the smallest ratio of a network's layers, and the
    `largest`, by run and step.

    Under a norm a layer's ratio is its effective learning rate (arXiv 2306.00700): one rate for
    all layers is as many rates as they are apart. Layers whose update is 0 in float32 are left out.
    """
    moved = layers[layers.relative_update > 0]
    ratios = moved.groupby(["run_id", "depth", "twin", "seed", "step"]).relative_update
    found = ratios.agg(["min", "max"]).reset_index().rename(columns={"max": "largest"})
    return found.assign(decades=np.log10(found.largest / found["min"])).drop(columns="min")


def spread_table(spreads: pd.DataFrame) -> Table:
    """Medians over seeds by depth, at the first update, after about ten, and where they end."""
    rows = []
    for (depth,), group in groups(spreads, ["depth"]):
        row: dict[str, Cell] = {"depth": int(depth)}
        first, last = at(group, "first"), at(group, "last")
        moments = {
            "first update": first,
            f"near step {EARLY}": near(group, EARLY),
            "last update": last,
        }
        for title, here in moments.items():
            for twin in style.COLORS:
                own = here[here.twin == twin].decades
                row[f"{twin}, {title}"] = float(own.median()) if len(own) else None
        for twin in style.COLORS:
            own = first[first.twin == twin].largest
            row[f"{twin}, largest first ratio"] = float(own.median()) if len(own) else None
        rows.append(row)
    spread = {name: ".1f" for name in rows[0] if "largest" not in name and name != "depth"}
    largest = {name: ".2g" for name in rows[0] if "largest" in name}
    note = (
        "Decades between the largest and the smallest update-to-weight ratio of a network's "
        "layers; the largest one at the first update. Layers whose update is 0 in float32 are left "
        "out. Medians over seeds."
    )
    return Table(rows, spread | largest, note=note)


def near(rows: pd.DataFrame, step: int) -> pd.DataFrame:
    """Each run's rows of its measured step nearest to `step`, the earlier of two; none if that is
    below half of it or above twice."""
    away = (rows["step"] - step).abs() + 0.5 * (rows["step"] > step)
    here = rows[away == away.groupby(rows["run_id"]).transform("min")]
    return here[here["step"].between(step / 2, 2 * step)]


def draw_spreads(output: Output, spreads: pd.DataFrame) -> None:
    """The spread by step, a panel per twin, a line per depth."""
    shades = style.depth_colors(sorted(spreads.depth.unique()))
    with output.figure(1, 2, height=2.6, sharey=True) as (made, axes):
        for ax, twin in zip(axes[0], style.COLORS, strict=True):
            for depth, color in shades.items():
                # The first update is number 1, so that it has a place on a log axis.
                own = spreads[(spreads.depth == depth) & (spreads.twin == twin)]
                by_seed = own.assign(number=own.step + 1).pivot(
                    index="number", columns="run_id", values="decades"
                )
                mark = "o" if len(by_seed) == 1 else None  # one step makes no line
                ax.plot(by_seed, color=color, lw=0.5, marker=mark, ms=2)
                median = by_seed.median(axis=1)
                ax.plot(median, color=color, lw=1.6, marker=mark, ms=5, label=f"depth {depth}")
            ax.set_xscale("log")
            ax.set_title(f"{twin} networks")
            ax.set_xlabel("update")
        axes[0, 0].set_ylim(bottom=0)  # of both panels, when both are drawn: it fixes the top too
        axes[0, 0].set_ylabel("spread over layers (decades)")
        style.legend(made, axes[0])
        style.letter_panels(axes[0])
        caption = (
            "Decades between the largest and the smallest update-to-weight ratio of a network's "
            "layers, by update; layers whose update is 0 in float32 are left out. Thin lines: "
            "single seeds; thick: their median."
        )
        output.add_figure(made, "effective_rates", caption)


def draw_profiles(output: Output, layers: pd.DataFrame, depth: int) -> None:
    """Ratio and weight norm by layer, at the first and at the last measured step."""
    with output.figure(2, 2, height=4.2, sharey="row") as (made, axes):
        for column, (moment, title) in enumerate(MOMENTS.items()):
            top, bottom = axes[:, column]
            here = at(layers, moment)
            plots.profile(here, x="layer_index", y="relative_update", ax=top)
            top.axhline(USUAL, color=style.GUIDE, lw=0.8, ls=":", zorder=0)
            plots.profile(here, x="layer_index", y="weight_norm", ax=bottom)
            top.set_title(f"depth {depth}, {title}")
            style.whole_axis(bottom, "layer (0: stem)")
        axes[0, 0].set_ylabel(RATIO)
        axes[1, 0].set_ylabel(r"$\|W\|$")
        style.legend(made, axes.flat)
        style.letter_panels(axes.flat)
        caption = (
            f"Update-to-weight ratio of each layer (top) and norm of its weight (bottom) in "
            f"networks of depth {depth}, at the first and the last measured step. Thin lines: "
            f"single seeds; thick: their median. Gaps in a line, and ticks at the edge, are "
            f"updates that are 0 in float32. Dotted: {USUAL:g}, a rule of thumb."
        )
        output.add_figure(made, "update_ratio_profile", caption)


def draw_heatmaps(output: Output, layers: pd.DataFrame, depth: int) -> None:
    """Ratio by layer and step, a panel per twin."""
    with output.figure(1, 2, height=2.6, sharey=True) as (made, axes):
        plots.twin_surfaces(
            layers, made=made, x="step", y="layer_index", value="relative_update", axes=axes[0],
            label=RATIO,
        )  # fmt: skip
        for ax, twin in zip(axes[0], style.COLORS, strict=True):
            ax.set_title(f"{twin}, depth {depth}")
            style.whole_axis(ax, "step")
        style.whole_axis(axes[0, 0], "layer (0: stem)", axis="y")
        style.letter_panels(axes[0])
        caption = (
            f"Update-to-weight ratio by layer and step at depth {depth}: norm of the change of a "
            "layer's weight over the norm of the weight. Median over seeds, one color scale; "
            "gray: 0 in float32."
        )
        output.add_figure(made, "update_ratio_heatmap", caption)


def draw_steps(output: Output, steps: pd.DataFrame, depth: int) -> None:
    """What scales an update besides its layer: norm of the whole gradient, and learning rate."""
    with output.figure(1, 2, height=2.4) as (made, axes):
        gradient_by_step(steps, ax=axes[0, 0]).set_title(f"depth {depth}")
        axes[0, 0].set_ylabel("gradient norm, all weights")
        plots.curves(steps, x="step", y="learning_rate", looks=LOOKS, ax=axes[0, 1])
        axes[0, 1].set_ylabel("learning rate")
        for ax in axes[0]:
            style.whole_axis(ax, "step")
        style.legend(made, axes[0])
        style.letter_panels(axes[0])
        caption = (
            "Norm of the loss gradient by all weights together (a; solid: before clipping, dashed: "
            f"after it, if it was clipped) and learning rate (b), by step, at depth {depth}. "
            "Lines: median over seeds; bands: from the lowest to the highest."
        )
        output.add_figure(made, "gradient_by_step", caption)


LOOKS = {twin: {"color": color, "lw": 0.9} for twin, color in style.COLORS.items()}
CLIPPED = {twin: look | {"ls": "--", "label": None} for twin, look in LOOKS.items()}


def gradient_by_step(steps: pd.DataFrame, *, ax: Axes) -> Axes:
    """`grad_norm` by step and twin, and `clipped_grad_norm` if clipping changed it."""
    plots.curves(steps, x="step", y="grad_norm", looks=LOOKS, ax=ax, log=True)
    if (steps.clipped_grad_norm < steps.grad_norm).any():
        plots.curves(steps, x="step", y="clipped_grad_norm", looks=CLIPPED, ax=ax, log=True)
    return ax


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__)
