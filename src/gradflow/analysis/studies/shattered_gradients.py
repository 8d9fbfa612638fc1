"""Do the gradients at different inputs agree, at the bottom of deep random networks?

python analysis/shattered_gradients.py outputs/shattered_gradients
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gradflow.analysis.figures import plots, style
from gradflow.analysis.frames import groups
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.study import Study
from gradflow.analysis.tables import Table
from gradflow.statistics import interval
from gradflow.theory.mean_field import relu_correlation, relu_gate_correlation

SWEPT = ("network_norm", "network_scaling")
KEYS = ["norm", "network"]
LINES = {"plain": "-", "residual": "-", "residual, branches / √L": (0, (4, 1.5))}
NORMS = {"none": "no norm", "batch": "batch norm", "layer": "layer norm"}


def analyze(output: Output) -> None:
    """The figures, and the table of the cosines at the lowest block."""
    study = output.study
    places = shattering(study, "shattering", ["signal_cosine", "grad_cosine", "whiteness"])
    theory = predicted(study, places)
    output.add_table("shattered_gradients", bottom_table(places, theory))
    draw(output, places, theory)
    draw_correlations(output, shattering(study, "autocorrelations", ["lag", "correlation"]))


def shattering(study: Study, table: str, columns: list[str]) -> pd.DataFrame:
    """Columns of one of the diagnostic's tables for blocks from 1 on, before training, with
    `norm`, `network` and `above`: the number of blocks between there and the output."""
    rows = study.diagnosis("shattering", table, ["block_index", *columns])
    rows = rows[(rows["at"] == "initialization") & (rows.block_index > 0)]
    settings = study.runs[["run_id", *SWEPT]].set_axis(["run_id", "norm", "scaling"], axis=1)
    rows = rows.merge(settings, on="run_id")
    scaled = rows.scaling == "inverse_sqrt"
    rows["network"] = np.where(scaled, "residual, branches / √L", rows.twin)
    return rows.assign(above=rows.groupby("run_id").block_index.transform("max") - rows.block_index)


def predicted(study: Study, places: pd.DataFrame) -> pd.DataFrame:
    """Theory's `grad_cosine` by norm, network and `above`.

    Without norm from the cosines of the signals of every pair of images, as they enter the
    lowest block, by `pair_theory`; with batch norm one half per layer, for plain networks.
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
    for network, group in groups(pairs[pairs.norm == "none"], "network"):
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


def draw(output: Output, places: pd.DataFrame, theory: pd.DataFrame) -> None:
    """Cosines of gradients and of signals, a column per norm."""
    norms = [norm for norm in NORMS if norm in set(places.norm)]
    with output.figure(2, len(norms), height=4.2, sharex=True, sharey=True) as (made, axes):
        for column, norm in zip(axes.T, norms, strict=True):
            measured, lines = (frame[frame.norm == norm] for frame in (places, theory))
            cosine_against_depth(measured, "grad_cosine", ax=column[0]).set_title(NORMS[norm])
            cosine_against_depth(measured, "signal_cosine", ax=column[1])
            theory_lines(lines, ax=column[0])
            style.whole_axis(column[1], "blocks above")
        axes[0, 0].set_ylabel("cosine of gradients")
        axes[1, 0].set_ylabel("cosine of signals")
        style.legend(made, axes.flat)
        style.letter_panels(axes.flat)
        caption = (
            "Random ReLU networks before training: mean cosine between two images' gradients (top) "
            "and signals (bottom) at a block's input, against the number of blocks above it; the "
            f"network's input is on the right. Lines: median of {output.study.seeds}; bands: from "
            "the lowest to the highest. Black: theory; a: arc-cosine kernels, from the cosines of "
            "the signals at the lowest block; "
            "b: one half per layer, for plain networks."
        )
        output.add_figure(made, "shattered_gradients", caption)


def draw_correlations(output: Output, rows: pd.DataFrame) -> None:
    """Autocorrelation of the gradient along a line of inputs, at the lowest block."""
    lowest = rows[rows.above == rows.above.max()]
    norms = [norm for norm in NORMS if norm in set(lowest.norm)]
    with output.figure(1, len(norms), height=2.3, sharey=True) as (made, axes):
        for ax, norm in zip(axes[0], norms, strict=True):
            here = lowest[lowest.norm == norm]
            looks = looks_of(here)
            plots.curves(
                here,
                x="lag",
                y="correlation",
                hue="network",
                looks=looks,
                ax=ax,
            )
            ax.axhline(0, color=style.GUIDE, lw=0.8, ls=":", zorder=0)
            ax.set_title(NORMS[norm])
            ax.set_xlabel("lag (share of the line)")
        axes[0, 0].set_ylabel("autocorrelation of gradients")
        style.legend(made, axes[0])
        style.letter_panels(axes[0])
        caption = (
            "Random ReLU networks before training: autocorrelation of the gradient at the input "
            f"of the block under {int(lowest.above.max())} others, as the network's input moves "
            "along a line between two images, by the distance moved. White noise has 0 at every "
            "lag but 0. Lines: median of "
            f"{output.study.seeds}; bands: from the lowest to the highest."
        )
        output.add_figure(made, "shattered_autocorrelation", caption)


def cosine_against_depth(places: pd.DataFrame, value: str, *, ax: Axes) -> Axes:
    """Mean cosine of gradients, or of signals, against blocks above, by network; of one norm."""
    plots.curves(places, x="above", y=value, hue="network", looks=looks_of(places), ax=ax)
    ax.set_ylim(-0.05, 1.03)
    return ax


def looks_of(places: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The lines of the networks that there are."""
    return {
        network: {"color": style.COLORS[network.split(",")[0]], "ls": dashes}
        for network, dashes in LINES.items()
        if (places.network == network).any()
    }


def theory_lines(theory: pd.DataFrame, *, ax: Axes) -> Axes:
    """Cosine of gradients in theory, a thin black line per network."""
    for network, line in groups(theory, "network"):
        ax.plot(line.above, line.grad_cosine, color="k", lw=0.7, ls=LINES[network], zorder=3)
    return ax


def bottom_table(places: pd.DataFrame, theory: pd.DataFrame) -> Table:
    """Cosines and whiteness at the lowest measured block."""
    blocks = int(places.above.max())
    lowest = places[places.above == blocks]
    top = places[places.above == 0].groupby(KEYS).signal_cosine.mean()
    ends = theory[theory.above == blocks].set_index(KEYS).grad_cosine
    cosine = f"cosine of gradients under {blocks} blocks (95 % interval)"
    formats = {cosine: ".3f", "theory": ".3f"}
    formats |= {"whiteness there": ".2f", "cosine of signals at the top": ".2f"}
    rows = [
        {
            "norm": norm,
            "network": network,
            cosine: interval(group.grad_cosine),
            "theory": ends.get((norm, network)),
            "whiteness there": group.whiteness.mean(),
            "cosine of signals at the top": top[norm, network],
        }
        for norm in NORMS
        for network, group in groups(lowest[lowest.norm == norm], "network")
    ]
    return Table(rows, formats)


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__, swept=SWEPT)
