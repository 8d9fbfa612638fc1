"""Do the gradients at different inputs agree, at the bottom of deep random networks?

python analysis/shattered_gradients.py outputs/shattered_gradients
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis import style
from analysis.study import Study, run_script
from gradflow.statistics import intervals_by, t_interval
from gradflow.theory.mean_field import relu_correlation, relu_gate_correlation

SWEPT = ("network_norm", "network_scaling")
KEYS = ["norm", "network"]
LINES = {"plain": "-", "residual": "-", "residual, branches / √L": (0, (4, 1.5))}
NORMS = {"none": "no norm", "batch": "batch norm"}


def analyse(study: Study, formats: Sequence[str]) -> list[Path]:
    """The figure, and the table of what is left at the first block; prints the table."""
    places = shattering(study)
    told = predicted(study, places)
    table = bottom_table(places, told)
    print(table)
    path = study.save_table("shattered_gradients", table)
    return [path, *draw(study, places, told, formats)]


def shattering(study: Study) -> pd.DataFrame:
    """A row a run and block from 1 on, before training: signal_cosine, grad_cosine (means over
    pairs of images), whiteness, `above`: the blocks between there and the output."""
    columns = ["block_index", "signal_cosine", "grad_cosine", "whiteness"]
    rows = study.diagnosis("shattering", "shattering", columns)
    rows = rows[(rows["at"] == "initialization") & (rows.block_index > 0)]
    settings = study.runs[["run_id", *SWEPT]].set_axis(["run_id", "norm", "scaling"], axis=1)
    rows = rows.merge(settings, on="run_id")
    scaled = rows.scaling == "inverse_sqrt"
    rows["network"] = np.where(scaled, "residual, branches / √L", rows.twin)
    return rows.assign(above=rows.groupby("run_id").block_index.transform("max") - rows.block_index)


def predicted(study: Study, places: pd.DataFrame) -> pd.DataFrame:
    """Theory's `grad_cosine` by norm, network and `above`.

    Without norm from the cosines of the signals of every pair of images, where they enter the
    lowest block, by `pair_theory`; with batch norm one half a layer, for plain networks.
    """
    blocks = int(places.above.max())
    lowest = places[places.above == blocks]
    pairs = study.diagnosis("shattering", "pairs", ["block_index", "signal_cosine"])
    pairs = pairs[pairs["at"] == "initialization"].drop(columns=["depth", "twin", "seed"])
    pairs = pairs.merge(lowest[["run_id", "block_index", *KEYS]], on=["run_id", "block_index"])
    found = [
        pd.DataFrame(
            {"above": range(blocks + 1), "grad_cosine": 0.5 ** np.arange(1, blocks + 2)}
        ).assign(norm="batch", network="plain")
    ]
    for network, group in pairs[pairs.norm == "none"].groupby("network"):
        # The recursion is smooth, so a grid of cosines stands for all the pairs.
        grid = np.linspace(-1, 1, 81)
        lines = np.array([pair_theory(str(network), c, blocks) for c in grid])
        weights = np.histogram(group.signal_cosine, bins=len(grid), range=(-1 - 1 / 80, 1 + 1 / 80))
        mean = np.average(lines, axis=0, weights=weights[0])
        line = pd.DataFrame({"above": range(blocks + 1), "grad_cosine": mean})
        found.append(line.assign(norm="none", network=network))
    return pd.concat(found, ignore_index=True)


def pair_theory(network: str, cosine: float, blocks: int) -> list[float]:
    """Cosine of two inputs' gradients with 0 ... `blocks` blocks above, without norm.

    `cosine`: of the signals that enter the lowest block. The recursion is that of
    `depth.gradient_correlation`; one gate more stands for the ReLU of the head.
    """
    scale = {"plain": None, "residual": 1.0}.get(network, (blocks + 1) ** -0.5)
    square = 1.0 if scale is None else scale**2
    cosines, gates = [cosine], []
    for _ in range(blocks):
        kernel, gate = relu_correlation(cosines[-1]), relu_gate_correlation(cosines[-1])
        mixed = (cosines[-1] + square * kernel) / (1 + square)
        cosines.append(min(kernel if scale is None else mixed, 1.0))
        gates.append(gate if scale is None else (1 + square * gate) / (1 + square))
    gates.append(relu_gate_correlation(cosines[-1]))
    return [float(factor) for factor in np.cumprod(gates[::-1])]


def draw(
    study: Study, places: pd.DataFrame, told: pd.DataFrame, formats: Sequence[str]
) -> list[Path]:
    with style.figure(1, 3, height=2.5) as (made, axes):
        for ax, (norm, title) in zip(axes[0], NORMS.items(), strict=False):
            measured, lines = (frame[frame.norm == norm] for frame in (places, told))
            cosine_against_depth(measured, lines, ax=ax).set_title(title)
        whiteness_against_depth(places, ax=axes[0, 2]).set_title("along a line of inputs")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        axes[0, 1].legend(handles, labels, loc="upper right", handlelength=2.6)
        style.letter_panels(axes[0])
        seeds = study.runs.seed.nunique()
        caption = (
            "Random ReLU networks before training. a, b: mean cosine between two images' "
            "gradients at a block's input, against the number of blocks above it. c: spectral "
            "flatness of the gradient along the line between two images (1: white noise); thick: "
            f"no norm, thin: batch norm. Bands: 95 % t intervals over {seeds} seeds. Black: "
            "theory; a: arc-cosine kernels, from the cosines of the signals at the lowest block; "
            "b: one half a layer, for plain networks."
        )
        return style.save(made, study, "shattered_gradients", caption, formats)


def cosine_against_depth(places: pd.DataFrame, told: pd.DataFrame, *, ax: Axes) -> Axes:
    """Mean cosine of gradients against blocks above, by network, and theory; of one norm."""
    summary = intervals_by(places, ["network", "above"], "grad_cosine")
    for network, group in summary.groupby("network"):
        color = style.COLORS[network.split(",")[0]]
        ax.plot(group.above, group["mean"], color=color, ls=LINES[network], label=network)
        ax.fill_between(group.above, group.low, group.high, color=color, alpha=0.2, lw=0)
    for network, line in told.groupby("network"):
        ax.plot(line.above, line.grad_cosine, color="k", lw=0.7, ls=LINES[network], zorder=3)
    ax.set_ylim(-0.05, 1)
    ax.set_xlabel("blocks above")
    ax.set_ylabel("cosine of gradients")
    return ax


def whiteness_against_depth(places: pd.DataFrame, *, ax: Axes) -> Axes:
    """Spectral flatness against blocks above, by norm and network."""
    summary = intervals_by(places, [*KEYS, "above"], "whiteness")
    for (norm, network), group in summary.groupby(KEYS):
        color = style.COLORS[network.split(",")[0]]
        width = 1.6 if norm == "none" else 0.8
        ax.plot(group.above, group["mean"], color=color, ls=LINES[network], lw=width)
    ax.set_ylim(0, 1)
    ax.set_xlabel("blocks above")
    ax.set_ylabel("whiteness of the gradient")
    return ax


def bottom_table(places: pd.DataFrame, told: pd.DataFrame) -> str:
    """A Markdown table: what is left at the lowest block that is measured."""
    lowest = places[places.above == places.above.max()]
    lines = [
        f"| norm | network | cosine of gradients under {int(places.above.max())} blocks "
        "(95 % t interval) | theory | whiteness |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    for norm in (n for n in NORMS if n in set(lowest.norm)):
        for network, group in lowest[lowest.norm == norm].groupby("network"):
            found = t_interval(group.grad_cosine)
            line = told[(told.norm == norm) & (told.network == network)].sort_values("above")
            expected = f"{line.grad_cosine.iloc[-1]:.3f}" if len(line) else "-"
            lines.append(
                f"| {norm} | {network} | {found.mean:.3f} ({found.low:.3f} ... {found.high:.3f}) "
                f"| {expected} | {group.whiteness.mean():.2f} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    run_script(analyse, __doc__, swept=SWEPT)
