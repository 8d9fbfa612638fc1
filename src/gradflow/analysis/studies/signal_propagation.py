"""Signals and gradients through random networks, block by block, against mean-field theory.

python analysis/signal_propagation.py outputs/signal_propagation
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from gradflow.analysis.figures import style
from gradflow.analysis.study import Study, run_script
from gradflow.analysis.tables import Table
from gradflow.core.errors import GradflowError
from gradflow.statistics import geometric_interval, intervals_by
from gradflow.theory import mean_field
from gradflow.theory.depth import batch_norm_factor, residual_factor

SWEPT = (
    "network_activation",
    "network_weight_variance",
    "network_branch_scale",
    "network_norm",
    "data_batch_size",
)
KEYS = ["activation", "variance", "twin"]
EVERY = 5  # blocks between the marks of a line


def analyse(study: Study, formats: Sequence[str]) -> list[Path]:
    """The figures, and the table of the gradient's factor a block; prints the table.

    Raises:
        GradflowError: the networks are not those that the theory is of: fully connected,
            one layer a block, full pre-activation without norm, Gaussian weights.
    """
    _check(study)
    every = signals(study)
    usual = (every.norm == "none") & (every.scale == 1) & (every.batch == every.batch.max())
    blocks = every[usual]
    table = factor_table(blocks)
    print(table)
    paths = study.save_table("signal_propagation", table)
    paths += draw(study, blocks, formats)
    normed, scaled = every[every.norm == "batch"], every[(every.norm == "none") & ~usual]
    if len(normed) and len(scaled):
        paths += draw_factors(study, normed, scaled, formats)
    return paths


def signals(study: Study) -> pd.DataFrame:
    """A row a run and block from 1 on: `forward`, the mean square of the block's input, and
    `backward`, the squared gradient there over that at the last block's output.

    Block 0 is left out: its input is already behind the stem's activation.
    """
    rows = study.records("blocks", ["step", "block_index", "input_rms", "input_grad_norm"], step=0)
    settings = study.runs[["run_id", *SWEPT]]
    settings.columns = ["run_id", "activation", "variance", "scale", "norm", "batch"]
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
    """`theory` for each setting, started from what is measured at block 1."""
    found = []
    for (activation, variance, twin), group in blocks.groupby(KEYS):
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


def draw(study: Study, blocks: pd.DataFrame, formats: Sequence[str]) -> list[Path]:
    lines = predicted(blocks)
    activations = sorted(blocks.activation.unique())
    with style.figure(2, len(activations), height=4.4, sharex=True) as (made, axes):
        for column, activation in enumerate(activations):
            measured, told = (f[f.activation == activation] for f in (blocks, lines))
            for row, value in enumerate(("forward", "backward")):
                against_block(measured, told, value, ax=axes[row, column])
            axes[0, column].set_title(activation)
            axes[1, column].set_xlabel("block")
        axes[0, 0].set_ylabel("mean square of the block's input")
        axes[1, 0].set_ylabel("squared gradient, over the last")
        _legend(made, sorted(blocks.variance.unique()))
        style.letter_panels(axes.flat)
        caption = (
            "Random networks x + W phi(x) (residual) and W phi(x) (plain), before training: mean "
            "square of each block's input (top) and squared norm of the loss gradient there, "
            "relative to the last block's output (bottom). Marks: geometric mean over "
            f"{study.seeds}, bars 95 % t intervals of the logarithm; marks of different weight "
            "variance differ in filling. Black lines: mean-field theory, started from what is "
            "measured at block 1."
        )
        return style.save(made, study, "signal_propagation", caption, formats)


def draw_factors(
    study: Study, normed: pd.DataFrame, scaled: pd.DataFrame, formats: Sequence[str]
) -> list[Path]:
    with style.figure(1, 2, height=2.3) as (made, axes):
        batches = np.geomspace(normed.batch.min(), normed.batch.max(), 40)
        told = [batch_norm_factor(batch) for batch in batches]
        factor_against(factors(normed, "batch"), "batch", batches, told, ax=axes[0, 0])
        axes[0, 0].axhline(np.pi / (np.pi - 1), color="k", lw=0.6, ls=":")
        axes[0, 0].set_xscale("log", base=2)
        axes[0, 0].set_xlabel("batch size")
        axes[0, 0].set_title("plain, batch norm")
        scales = np.linspace(0, scaled.scale.max(), 40)
        told = [residual_factor(1.0, scale) for scale in scales]
        factor_against(factors(scaled, "scale"), "scale", scales, told, ax=axes[0, 1])
        axes[0, 1].set_xlabel("branch scale b")
        axes[0, 1].set_title("residual, no norm")
        style.letter_panels(axes[0])
        caption = (
            "The squared gradient's factor a block toward the input, before training. a: plain "
            "ReLU networks with batch norm, by batch size; line: Yang et al. 2019, theorem 8; "
            "dotted: its limit pi/(pi - 1). b: x + b W ReLU(x), by the branch's scale b; line: "
            f"1 + b^2. Marks: geometric mean over {study.seeds}, bars: 95 % t "
            "intervals of the logarithm."
        )
        return style.save(made, study, "signal_propagation_factors", caption, formats)


def factors(blocks: pd.DataFrame, by: str) -> pd.DataFrame:
    """A row a run: `factor`, the squared gradient's a block, from the first to the last row."""
    steps = blocks.block_index.max() - 1
    first = blocks[blocks.block_index == 1]
    return first.assign(factor=first.backward ** (1 / steps))[["twin", by, "factor"]]


def factor_against(
    found: pd.DataFrame,
    by: str,
    places: Sequence[float] | np.ndarray,
    told: Sequence[float],
    *,
    ax: Axes,
) -> Axes:
    """Marks with intervals by twin, and theory as a line."""
    summary = intervals_by(found, ["twin", by], "factor", log=True)
    for twin, line in summary.groupby("twin"):
        ax.errorbar(
            line[by],
            line["mean"],
            yerr=[line["mean"] - line.low, line.high - line["mean"]],
            color=style.COLORS[str(twin)],
            marker=style.MARKERS[str(twin)],
            lw=0,
            elinewidth=0.8,
            capsize=2,
        )
    ax.plot(places, told, color="k", lw=0.8, zorder=0)
    ax.set_ylabel("squared gradient, factor a block")
    return ax


def against_block(blocks: pd.DataFrame, lines: pd.DataFrame, value: str, *, ax: Axes) -> Axes:
    """Marks every few blocks, by twin and weight variance, and the theory as lines."""
    summary = intervals_by(blocks.dropna(subset=value), [*KEYS, "block_index"], value, log=True)
    summary = summary[summary.block_index % EVERY == 1]
    fillings = _fillings(sorted(blocks.variance.unique()))
    for (_, variance, twin), group in summary.groupby(KEYS):
        color = style.COLORS[twin]
        ax.errorbar(
            group.block_index,
            group["mean"],
            yerr=[group["mean"] - group.low, group.high - group["mean"]],
            color=color,
            marker=style.MARKERS[twin],
            fillstyle=fillings[variance],
            markerfacecoloralt="w",
            markersize=3.5,
            lw=0,
            elinewidth=0.8,
        )
    for _, group in lines.groupby(KEYS):
        ax.plot(group.block_index, group[value], color="k", lw=0.7, zorder=0)
    ax.set_yscale("log")
    return ax


def factor_table(blocks: pd.DataFrame) -> Table:
    """The squared gradient's factor a block, measured and told."""
    told = predicted(blocks).groupby(KEYS)
    steps = int(blocks.block_index.max()) - 1
    measured = "gradient's factor a block (95 % interval)"
    rows = [
        {
            "activation": key[0],
            "weight variance": float(key[1]),
            "network": key[2],
            measured: geometric_interval(group[group.block_index == 1].backward ** (1 / steps)),
            "theory": float(told.get_group(key).backward.iloc[0] ** (1 / steps)),
        }
        for key, group in blocks.groupby(KEYS)
    ]
    return Table(rows, {"weight variance": "g", measured: ".3f", "theory": ".3f"})


def _fillings(variances: Sequence[float]) -> dict[float, str]:
    return dict(zip(variances, ("none", "left", "full", "top"), strict=False))


def _legend(made: Figure, variances: Sequence[float]) -> None:
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
    made.legend(handles=handles, loc="outside upper center", ncols=len(handles), columnspacing=1)


def _check(study: Study) -> None:
    wanted = {
        "network_name": "mlp",
        "network_layers": 1,
        "network_placement": "full_preactivation",
        "network_initialization": "gaussian",
    }
    for column, value in wanted.items():
        if found := set(study.runs[column]) - {value}:
            raise GradflowError(
                f"{study.folder}: {column}={next(iter(found))}; this theory is of {value}. "
                "python experiments/train.py study=signal_propagation makes such runs"
            )


def main() -> None:
    run_script(analyse, __doc__, swept=SWEPT)
