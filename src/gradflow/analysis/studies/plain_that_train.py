"""Plain networks that train: do they fit, and what do their gradients look like over depth?

python analysis/plain_that_train.py outputs/plain_that_train
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gradflow.analysis.figures import plots, style
from gradflow.analysis.frames import groups
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.studies.budget import spread
from gradflow.analysis.studies.learning_rate import at_own_best
from gradflow.analysis.tables import Cell, Table
from gradflow.core.errors import GradflowError
from gradflow.statistics import geometric_interval
from gradflow.verdict import RATE
from gradflow.verdict.gradient import end_to_end

OPTIONS = ("network_norm", "network_activation", "network_initialization", "network_block")
SWEPT = ("network_name", *OPTIONS, RATE)

LOOKS: dict[str, dict[str, Any]] = {
    "plain": {"color": style.COLORS["plain"], "marker": "o"},
    "plain, no norm": {"color": "#7A5C00", "marker": "X", "ls": "--"},
    "tailored rectifier": {"color": "#A4336F", "marker": "^"},
    "critical tanh": {"color": "#7A4FB5", "marker": "v"},
    "DiracNet": {"color": "#00785A", "marker": "D"},
    "RepVGG": {"color": "#2F7F9E", "marker": "P"},
    "linear, orthogonal": {"color": "#000000", "marker": "*"},
    "residual": {"color": style.COLORS["residual"], "marker": "s"},
}
"""How each design is called and drawn; dark enough on white."""

SPREAD = 0.55  # of the distance of two depths, which the marks of all designs take


def analyze(output: Output) -> None:
    """The figure, and a table of errors and gradients by design and depth.

    Raises:
        GradflowError: the study has no design that is named here.
    """
    runs = output.study.runs
    # A run that diverged has learned nothing that is left.
    runs = runs.assign(error=100 * runs.final_train_error.fillna(1.0), design=names(runs))
    lost = int(runs.design.isna().sum())
    runs = runs.dropna(subset="design")
    if runs.empty:
        raise GradflowError(f"no run has a design that is compared: {', '.join(LOOKS)}")
    best = at_best_rates(runs)
    blocks = output.study.records("blocks", ["step", "block_index", "input_grad_norm"])
    blocks = blocks.merge(best[["run_id", "design"]])
    last = blocks.groupby("run_id").step.transform("max")
    moments = {"first": blocks[blocks.step == 0], "last": blocks[blocks.step == last]}
    ratios = {
        moment: end_to_end(frame).merge(best[["run_id", "design"]])
        for moment, frame in moments.items()
    }
    note = f" Left out: {lost} runs of other designs." if lost else ""
    output.add_table("plain_that_train", design_table(best, ratios, note))
    draw(output, best, ratios, moments, note)


def names(runs: pd.DataFrame) -> "pd.Series[Any]":
    """What each run's design is called; None if it is not compared here."""

    def name(row: Any) -> str | None:
        norm, act, init, block = (getattr(row, option) for option in OPTIONS)
        if row.network_name == "mlp":
            linear = (norm, act, init) == ("batch", "identity", "orthogonal")
            return "linear, orthogonal" if linear and row.twin == "plain" else None
        found = {
            ("batch", "relu", "he_fan_out", "basic"): row.twin,
            ("none", "relu", "he_fan_out", "basic"): "plain, no norm",
            ("none", "tailored_relu", "delta_orthogonal", "basic"): "tailored rectifier",
            ("none", "tanh", "critical", "basic"): "critical tanh",
            ("batch", "relu", "he_fan_out", "dirac"): "DiracNet",
            ("batch", "relu", "he_fan_out", "repvgg"): "RepVGG",
        }.get((norm, act, init, block))
        return found if row.twin == "plain" or found == "residual" else None

    columns = ["network_name", "twin", *OPTIONS]
    return pd.Series([name(row) for row in runs[columns].itertuples()], index=runs.index)


def at_best_rates(runs: pd.DataFrame) -> pd.DataFrame:
    """The run of each design, depth and seed at the rate that is best for the other seeds."""
    parts = []
    for (design,), group in groups(runs, ["design"]):
        parts.append(at_own_best(group)[["depth", "seed", RATE]].assign(design=design))
    chosen = pd.concat(parts, ignore_index=True)
    return chosen.merge(runs, on=["design", "depth", "seed", RATE])


def design_table(best: pd.DataFrame, ratios: dict[str, pd.DataFrame], note: str) -> Table:
    """Error, rate and gradient ratio of each design and depth."""
    rows: list[dict[str, Cell]] = []
    for design in LOOKS:
        for (depth,), group in groups(best[best.design == design], ["depth"]):
            row: dict[str, Cell] = {"design": design, "depth": int(depth)}
            row["training error %"] = spread(group.error)
            row["learning rate"] = float(plots.middle(group[RATE], tried=True))
            for moment, title in (("first", "as drawn"), ("last", "trained")):
                own = ratios[moment]
                own = own[own.run_id.isin(group.run_id) & ~own.is_bound.astype(bool)]
                row[f"gradient ratio, {title}"] = geometric_interval(own.ratio.dropna())
            rows.append(row | {"seeds": int(group.seed.nunique())})
    titles = ("gradient ratio, as drawn", "gradient ratio, trained")
    explained = (
        "Training error: median over seeds (lowest ... highest), each seed at the learning rate "
        "that is best for the others. Gradient ratio: norm at the first block's input over that "
        "at the last block's output, geometric mean (95 % interval)."
    )
    formats = dict.fromkeys(titles, ".3g") | {"learning rate": "g"}
    return Table(rows, formats, note=explained + note)


def draw(
    output: Output,
    best: pd.DataFrame,
    ratios: dict[str, pd.DataFrame],
    moments: dict[str, pd.DataFrame],
    note: str,
) -> None:
    """Error and end-to-end ratio against depth; the gradient by block of the deepest networks."""
    looks = {name: LOOKS[name] for name in LOOKS if name in set(best.design)}
    deepest = int(best.depth.max())
    with output.figure(2, 2, height=5.2) as (made, axes):
        by_depth(best, "error", looks, ax=axes[0, 0])
        axes[0, 0].set_ylabel("training error (%)")
        axes[0, 0].set_ylim(-3, 103)
        drawn = ratios["first"]
        # Beyond float32: a mark at the edge.
        beyond = np.where(drawn.ratio < 1, 0.0, np.inf)
        drawn = drawn.assign(ratio=drawn.ratio.where(~drawn.is_bound.astype(bool), beyond))
        by_depth(drawn, "ratio", looks, ax=axes[0, 1], log=True)
        axes[0, 1].set_ylabel("gradient, first / last block")
        for ax, (moment, title) in zip(
            axes[1], (("first", "as drawn"), ("last", "trained")), strict=True
        ):
            profile(moments[moment][moments[moment].depth == deepest], looks, ax=ax)
            ax.set_title(f"depth {deepest}, {title}")
        for ax in (axes[0, 1], *axes[1]):
            ax.axhline(1, color=style.GUIDE, lw=0.8, ls=":", zorder=0)
        axes[1, 0].set_ylabel("gradient, block / last block")
        style.legend(made, axes.flat)
        style.letter_panels(axes.flat)
        caption = (
            "Plain networks, five of them designed to train, and residual ones. a: training error "
            "in evaluation mode after the last step against depth, each seed at the learning rate "
            "that is best for the others. b: at initialization, norm of the gradient at the first "
            "block's input over that at the last block's output. c, d: norm of the gradient at "
            f"each block's input over that at the last block's output, depth {deepest}, at "
            "initialization and after the last step. Dotted: 1. Open marks: single seeds; lines: "
            "their median; bands: from the lowest to the highest. The linear networks are fully "
            "connected, all others convolutions. Depths are set apart by design."
        )
        output.add_figure(made, "plain_that_train", caption + note)


def by_depth(
    rows: pd.DataFrame, value: str, looks: plots.Looks, *, ax: Axes, log: bool = False
) -> Axes:
    """A value by depth, each depth at a place of its own and the designs beside each other."""
    depths = sorted(rows.depth.unique())
    step = SPREAD / max(1, len(looks) - 1)
    shifts = {name: step * place - SPREAD / 2 for place, name in enumerate(looks)}
    rows = rows.assign(place=rows.depth.map(depths.index) + rows.design.map(shifts))
    plots.medians(rows, x="place", y=value, hue="design", looks=looks, ax=ax, log=log)
    ax.set_xticks(range(len(depths)), [str(depth) for depth in depths])
    ax.set_xlim(-0.5, len(depths) - 0.5)
    ax.set_xlabel("depth (weighted layers)")
    return ax


def profile(blocks: pd.DataFrame, looks: plots.Looks, *, ax: Axes) -> Axes:
    """The gradient's norm at each block's input over that at the last block's output."""
    norms = blocks.assign(norm=blocks.input_grad_norm.astype(float))
    final = norms.sort_values("block_index").groupby("run_id").norm.transform("last")
    ends = norms.groupby("run_id").block_index.transform("max")
    rows = norms.assign(share=norms.norm / final.where(final > 0), place=norms.block_index / ends)
    bare = {name: {**look, "marker": None, "label": "_"} for name, look in looks.items()}
    plots.curves(rows, x="place", y="share", hue="design", looks=bare, ax=ax, log=True)
    ax.set_xlabel("block (0: first, 1: behind the last)")
    return ax


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__, swept=SWEPT)
