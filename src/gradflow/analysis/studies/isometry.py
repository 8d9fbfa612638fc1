"""Which networks start as an isometry, and which become one? Singular values of their Jacobians.

python analysis/isometry.py outputs/isometry
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from gradflow.analysis.figures import style
from gradflow.analysis.frames import dicts, groups
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.study import Study
from gradflow.analysis.tables import Cell, Table, error_cell
from gradflow.theory.depth import (
    BN_VARIANCE,
    batch_norm_residual_ratio,
    plain_ratio,
    residual_ratio,
)

SWEPT = ("network_norm", "network_initialization", "network_activation", "network_scaling")
NAMES = {
    "he_fan_in": "He",
    "orthogonal": "orthogonal",
    "looks_linear": "looks-linear",
    "batch": "batch norm",
    "inverse_sqrt": "branches / √L",
    "rezero": "ReZero",
    "identity": "linear",
}


def analyze(output: Output) -> None:
    """The figure, and the table of conditions and errors."""
    values = spectra(output.study)
    output.add_table("isometry", condition_table(values))
    draw(output, values)


def spectra(study: Study) -> pd.DataFrame:
    """A row per singular value of all blocks together: `network` (its name), `at`, `value`, and the
    run's final training error; values below 1e-12 of the largest count as that."""
    rows = study.diagnosis("jacobian", "singular_values", ["part", "example", "value"])
    rows = rows[rows.part == "blocks"]
    names = study.runs[["run_id", "final_train_error"]].assign(
        network=[name_of(run) for run in dicts(study.runs)],
        blocks=study.runs.depth - 2,
    )
    rows = rows.merge(names, on="run_id")
    floor = 1e-12 * rows.groupby(["run_id", "at", "example"]).value.transform("max")
    return rows.assign(value=rows.value.clip(lower=floor))


def name_of(run: dict[str, object]) -> str:
    """Such as "plain, orthogonal" or "residual, He, branches / √L"."""
    usual = {"network_norm": "none", "network_activation": "relu", "network_scaling": "constant"}
    parts = [str(run["twin"]), NAMES[str(run["network_initialization"])]]
    parts += [NAMES[str(run[key])] for key, value in usual.items() if run[key] != value]
    return ", ".join(parts)


def theory(network: str, blocks: int) -> float | None:
    """Theory's root mean square of the singular values at initialization; None: there is none.

    The first block is its weights alone (its activation is in the stem): squared factor 2
    with He's variance, in a residual network 3. After it every block has that of theory.depth.
    Mirrored weights have singular values 2 and 0 there, in equal parts, and then 1 and 0.
    """
    rest = blocks - 1
    squares = {
        "plain, He": 2 * plain_ratio(rest, 1.0),
        "plain, He, batch norm": 2 * plain_ratio(rest, 1 / BN_VARIANCE),
        "plain, orthogonal": plain_ratio(rest, 0.5),
        "plain, orthogonal, linear": 1.0,
        "plain, looks-linear": 2.0,
        "residual, He": 3 * residual_ratio(rest, 1.0),
        "residual, He, batch norm": 3 * batch_norm_residual_ratio(rest),
        "residual, He, branches / √L": (1 + 2 / blocks) * residual_ratio(rest, 1 / blocks),
        "residual, He, ReZero": 1.0,
    }
    return squares[network] ** 0.5 if network in squares else None


def draw(output: Output, values: pd.DataFrame) -> None:
    """The spread of singular values, a row per network."""
    study = output.study
    states = [s for s in style.STATE_TITLES if s in set(values["at"])]
    with output.figure(
        1, len(states), height=0.7 + 0.24 * values.network.nunique(), sharey=True, sharex=True
    ) as (made, axes):
        for ax, state in zip(axes[0], states, strict=True):
            spread_by_network(values[values["at"] == state], _names(values), ax=ax)
            ax.set_title(style.STATE_TITLES[state])
        style.legend(made, [], handles=_handles())
        style.letter_panels(axes[0])
        steps = int(study.runs.steps.iloc[0])
        blocks = int(values.blocks.iloc[0])
        caption = (
            f"Singular values of the Jacobian of {blocks} blocks, from the first one's input to "
            f"the last one's output, before and after {steps} steps; of {study.seeds}, "
            f"{values.example.nunique()} images each. Thin: all values (also those left of the "
            "axis); thick: the middle 80 %; black bar: theory of the root mean square at "
            "initialization; empty rows: every run diverged."
        )
        output.add_figure(made, "isometry", caption)


MARK: dict[str, Any] = {"ls": "none", "color": "w", "markeredgecolor": "k", "mew": 0.7}
MEDIAN: dict[str, Any] = {**MARK, "marker": "o", "markersize": 4}
ROOT_MEAN_SQUARE: dict[str, Any] = {**MARK, "marker": "D", "markersize": 4}
THEORY: dict[str, Any] = {"ls": "none", "color": "k", "marker": "|", "markersize": 10, "mew": 1.4}


def _handles() -> list[Line2D]:
    marks = {"median": MEDIAN, "root mean square": ROOT_MEAN_SQUARE, "its theory": THEORY}
    twins = [Line2D([], [], color=color, lw=4, label=t) for t, color in style.COLORS.items()]
    return twins + [Line2D([], [], label=name, **look) for name, look in marks.items()]


def spread_by_network(values: pd.DataFrame, names: Sequence[str], *, ax: Axes) -> Axes:
    """Range, middle 80 %, median and root mean square of each network's singular values, in
    rows named from the bottom up."""
    for network, group in groups(values, "network"):
        row = names.index(str(network))
        color = style.COLORS[str(network).split(",")[0]]
        low, tenth, median, ninetieth, high = group.value.quantile([0, 0.1, 0.5, 0.9, 1])
        ax.plot([low, high], [row, row], color=color, lw=0.8)
        ax.plot([tenth, ninetieth], [row, row], color=color, lw=4, solid_capstyle="butt")
        ax.plot(median, row, **MEDIAN)
        ax.plot(np.sqrt((group.value**2).mean()), row, **ROOT_MEAN_SQUARE)
        if (group["at"] == "initialization").all():
            expected = theory(str(network), int(group.blocks.iloc[0]))
            if expected is not None:
                ax.plot(expected, row, **THEORY)
    ax.set_yticks(range(len(names)), names)
    ax.set_xscale("log")
    ax.set_xlim(left=1e-6)
    ax.set_xlabel("singular value")
    ax.axvline(1, color=style.GUIDE, lw=0.6, zorder=0)
    return ax


def condition_table(values: pd.DataFrame) -> Table:
    """Condition number at initialization, and the error after training."""
    rows: list[dict[str, Cell]] = []
    for network, group in groups(values[values["at"] == "initialization"], "network"):
        ends = group.groupby(["run_id", "example"]).value.agg(["min", "max"])
        ratio = float((ends["max"] / ends["min"]).median())
        errors = 100 * group.groupby("run_id").final_train_error.first()
        rows.append(
            {
                "network": network,
                "condition number at initialization (median)": "above 1e12"
                if ratio > 0.99e12
                else f"{ratio:.3g}",
                "largest value": ends["max"].median(),
                "root mean square": float(np.sqrt((group.value**2).mean())),
                "its theory": theory(str(network), int(group.blocks.iloc[0])),
                "training error after it, % (95 % interval)": error_cell(errors),
            }
        )
    return Table(rows, dict.fromkeys(("largest value", "root mean square", "its theory"), ".3g"))


def _names(values: pd.DataFrame) -> list[str]:
    """Networks from the bottom of the figure up: residual ones, then plain ones."""
    return sorted(values.network.unique(), reverse=True)


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__, swept=SWEPT)
