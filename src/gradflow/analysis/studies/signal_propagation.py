"""Signals and gradients through random networks, block by block, against mean-field theory.

python analysis/signal_propagation.py outputs/signal_propagation
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from gradflow.analysis.figures import plots, style
from gradflow.analysis.frames import groups
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.studies.signal_factors import draw_factors
from gradflow.analysis.study import Study
from gradflow.analysis.tables import Cell, Table
from gradflow.core.errors import GradflowError
from gradflow.statistics import geometric_interval
from gradflow.theory import mean_field
from gradflow.theory.depth import residual_factor

SWEPT = (
    "network_activation",
    "network_weight_variance",
    "network_branch_scale",
    "network_norm",
    "data_batch_size",
)
KEYS = ["activation", "variance", "twin"]
EVERY = 5  # blocks between the marks of a line


def analyze(output: Output) -> None:
    """The figures, and the table of the gradient's factor per block.

    Raises:
        GradflowError: the networks are not those that the theory is of: fully connected,
            one layer per block, full pre-activation without norm, Gaussian weights.
    """
    _check(output.study)
    every = signals(output.study)
    usual = (every.norm == "none") & (every.scale == 1) & (every.batch == every.batch.max())
    blocks = every[usual]
    output.add_table("signal_propagation", factor_table(blocks))
    draw(output, blocks)
    normed, scaled = every[every.norm == "batch"], every[(every.norm == "none") & ~usual]
    if len(normed) and len(scaled):
        draw_factors(output, normed, scaled)


def signals(study: Study) -> pd.DataFrame:
    """A row per run and block from 1 on: `forward`, the mean square of the block's input, and
    `backward`, the squared gradient there over that at the last block's output.

    Block 0 is left out: its input is already behind the stem's activation.
    """
    rows = study.records("blocks", ["step", "block_index", "input_rms", "input_grad_norm"], step=0)
    settings = study.runs[["run_id", *SWEPT]].set_axis(
        ["run_id", "activation", "variance", "scale", "norm", "batch"], axis=1
    )
    rows = rows.merge(settings, on="run_id").astype({"input_rms": float, "input_grad_norm": float})
    last = rows.block_index.max()
    ends = rows[rows.block_index == last].set_index("run_id").input_grad_norm
    rows["backward"] = (rows.input_grad_norm / rows.run_id.map(ends)) ** 2
    rows["forward"] = rows.input_rms**2
    # The last row is the last block's output: it has a gradient and no recorded RMS.
    return rows[(rows.block_index > 0)].sort_values(["run_id", "block_index"])


def theory(
    activation: str, variance: float, scale: float, *, skip: bool, start: float, blocks: int
) -> pd.DataFrame:
    """The same columns for blocks 1 ... `blocks`, from the mean square `start` at block 1.

    q -> [q +] scale^2 variance E[phi(sqrt(q) z)^2], and backward the factor
    [1 +] scale^2 variance E[phi'(sqrt(q) z)^2] (`mean_field`, `depth.residual_factor`).
    """
    forward, factors = [start], []
    for _ in range(1, blocks):
        q = forward[-1]
        moment = mean_field.variance_map(q, activation, variance)
        forward.append(skip * q + scale**2 * moment)
        chi = mean_field.gradient_factor(q, activation, variance)
        factors.append(residual_factor(chi, scale, float(skip)))
    backward = np.cumprod([1.0, *reversed(factors)])[::-1]
    return pd.DataFrame(
        {"block_index": range(1, blocks + 1), "forward": forward, "backward": backward}
    )


def predicted(blocks: pd.DataFrame) -> pd.DataFrame:
    """`theory` for each setting, started from the measurement at block 1."""
    found = []
    for (activation, variance, twin), group in groups(blocks, KEYS):
        lines = theory(
            activation,
            variance,
            float(group.scale.iloc[0]),
            skip=twin == "residual",
            start=float(group[group.block_index == 1].forward.mean()),
            blocks=int(group.block_index.max()),
        )
        found.append(lines.assign(activation=activation, variance=variance, twin=twin))
    return pd.concat(found, ignore_index=True)


def draw(output: Output, blocks: pd.DataFrame) -> None:
    """Forward and backward by block, a column per activation."""
    lines = predicted(blocks)
    activations = sorted(blocks.activation.unique())
    with output.figure(2, len(activations), height=4.4, sharex=True) as (made, axes):
        for column, activation in enumerate(activations):
            measured, expected = (f[f.activation == activation] for f in (blocks, lines))
            for row, value in enumerate(("forward", "backward")):
                against_block(measured, expected, value, ax=axes[row, column])
            axes[0, column].set_title(activation)
            style.whole_axis(axes[1, column], "block")
        axes[0, 0].set_ylabel("mean square of the input")
        axes[1, 0].set_ylabel("squared gradient, over the last")
        _legend(made, sorted(blocks.variance.unique()))
        style.letter_panels(axes.flat)
        caption = (
            "Random networks x + W phi(x) (residual) and W phi(x) (plain), before training: mean "
            "square of each block's input (top) and squared norm of the loss gradient there, "
            "relative to the last block's output (bottom). Open marks: single seeds; marks: median "
            f"of {output.study.seeds}, those of different weight variance differ in filling. Black "
            "lines: mean-field theory, started from the measurement at block 1."
        )
        output.add_figure(made, "signal_propagation", caption)


def against_block(blocks: pd.DataFrame, lines: pd.DataFrame, value: str, *, ax: Axes) -> Axes:
    """Marks every few blocks, by twin and weight variance, and the theory as lines."""
    marks = blocks[blocks.block_index % EVERY == 1]
    names = marks.twin + " " + marks.activation + " " + marks.variance.map(str)
    looks = {
        f"{twin} {activation} {variance}": style.TWIN_LOOKS[twin]
        | {
            "label": "_",
            "fillstyle": filling,
            "markerfacecoloralt": "w",
            "markersize": 3.5,
            "lw": 0,
        }
        for activation in sorted(marks.activation.unique())
        for variance, filling in _fillings(sorted(blocks.variance.unique())).items()
        for twin in style.COLORS
    }
    plots.medians(
        marks.assign(line=names), x="block_index", y=value, hue="line", looks=looks, ax=ax, log=True
    )
    for _, group in groups(lines, KEYS):
        ax.plot(group.block_index, group[value], color="k", lw=0.7, zorder=0)
    return ax


def factor_table(blocks: pd.DataFrame) -> Table:
    """The squared gradient's factor per block, measured and in theory."""
    expected = predicted(blocks).groupby(KEYS)
    steps = int(blocks.block_index.max()) - 1
    measured = "gradient's factor per block (95 % interval)"
    rows: list[dict[str, Cell]] = [
        {
            "activation": key[0],
            "weight variance": float(key[1]),
            "network": key[2],
            measured: geometric_interval(group[group.block_index == 1].backward ** (1 / steps)),
            "theory": float(expected.get_group(key).backward.iloc[0] ** (1 / steps)),
        }
        for key, group in groups(blocks, KEYS)
    ]
    return Table(rows, {"weight variance": "g", measured: ".3f", "theory": ".3f"})


def _fillings(variances: Sequence[float]) -> dict[float, Any]:
    return dict(zip(variances, ("none", "left", "full", "top"), strict=False))


def _legend(made: style.Made, variances: Sequence[float]) -> None:
    handles = [
        Line2D([], [], color=color, marker=style.MARKERS[twin], lw=0, markersize=3.5, label=twin)
        for twin, color in style.COLORS.items()
    ]
    handles += [
        Line2D(
            [], [], color="0.3", marker="o", fillstyle=filling, markerfacecoloralt="w", lw=0,
            markersize=3.5, label=f"weight variance {variance:g}",
        )
        for variance, filling in _fillings(variances).items()
    ]  # fmt: skip
    handles.append(Line2D([], [], color="k", lw=0.7, label="theory"))
    style.legend(made, [], handles=handles)


def _check(study: Study) -> None:
    required = {
        "network_name": "mlp",
        "network_layers": 1,
        "network_placement": "full_preactivation",
        "network_initialization": "gaussian",
    }
    for column, value in required.items():
        if found := set(study.runs[column]) - {value}:
            raise GradflowError(
                f"{study.folder}: {column}={next(iter(found))}; this theory is of {value}. "
                "gradflow study signal_propagation makes such runs"
            )


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__, swept=SWEPT)
