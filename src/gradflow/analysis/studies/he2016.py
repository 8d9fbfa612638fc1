"""Tables 1 and 2 of He et al. 2016, measured here, beside the paper's: shortcuts and placements.

python analysis/he2016.py outputs/he2016_shortcuts
python analysis/he2016.py outputs/he2016_activations
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gradflow.analysis.figures import style
from gradflow.analysis.study import Study, run_script
from gradflow.analysis.tables import Cell, Table
from gradflow.core.errors import GradflowError
from gradflow.statistics import interval, intervals_by

SWEPT = tuple(
    f"network_{key}"
    for key in ("shortcut", "shortcut_scale", "branch_scale", "gate_bias", "placement")
)
FAIL = np.inf  # the paper's word for a test error above 20 %
SHOWN = 20.0
SPLITS = {"training error": "0.6", "test error": "k"}  # the colours of twins mean twins


@dataclass(frozen=True)
class Row:
    """A row of a table: its name, the runs that it is of, and the paper's test error in %."""

    name: str
    paper: float
    where: dict[str, object] = field(default_factory=dict)  # of the columns network_*

    def holds(self, runs: pd.DataFrame) -> pd.Series:
        return pd.Series(
            np.logical_and.reduce([runs[f"network_{k}"] == v for k, v in self.where.items()]),
            index=runs.index,
        )


def _shortcut(name: str, paper: float, shortcut: str = "A", **where: object) -> Row:
    scales = {"skip": True, "shortcut_scale": 1.0, "branch_scale": 1.0}
    return Row(name, paper, {"shortcut": shortcut, **scales, **where})


# Table 1, ResNet-110, the median of five runs; of its gates with bias 0 to -7 the first and -6.
SHORTCUTS = (
    _shortcut("identity", 6.61),
    _shortcut("plain (0 and 1)", FAIL, skip=False),
    _shortcut("constant 0.5 and 1", FAIL, shortcut_scale=0.5),
    _shortcut("constant 0.5 and 0.5", 12.35, shortcut_scale=0.5, branch_scale=0.5),
    _shortcut("exclusive gate, bias 0", FAIL, "exclusive_gate", gate_bias=0.0),
    _shortcut("exclusive gate, bias -6", 8.70, "exclusive_gate", gate_bias=-6.0),
    _shortcut("shortcut-only gate, bias 0", 12.86, "shortcut_gate", gate_bias=0.0),
    _shortcut("shortcut-only gate, bias -6", 6.91, "shortcut_gate", gate_bias=-6.0),
    _shortcut("1x1 convolution", 12.22, "C"),
    _shortcut("dropout 0.5", FAIL, "dropout"),
)
# Table 2: placement -> (name, ResNet-110, ResNet-164).
PLACEMENTS = {
    "original": ("original", 6.61, 5.93),
    "norm_after_addition": ("BN after addition", 8.17, 6.50),
    "activation_before_addition": ("ReLU before addition", 7.84, 6.14),
    "activation_only_preactivation": ("ReLU-only pre-activation", 6.71, 5.91),
    "full_preactivation": ("full pre-activation", 6.37, 5.46),
}


def analyse(study: Study, formats: Sequence[str]) -> list[Path]:
    """The table and the figure of either study; prints the table.

    Raises:
        GradflowError: the study has fewer than two rows of either table.
    """
    rows = table_of(study.runs)
    runs = named(study.runs, rows)
    if runs.row.nunique() < 2:
        raise GradflowError(
            f"{study.folder}: has fewer than two rows of a table of He et al. 2016; "
            "python experiments/train.py study=he2016_shortcuts makes them"
        )
    table = replace(error_table(runs, rows), note=agreement(runs, rows))
    print(table)
    name = "he2016_activations" if rows is not SHORTCUTS else "he2016_shortcuts"
    return [*study.save_table(name, table), *draw(study, runs, rows, name, formats)]


def table_of(runs: pd.DataFrame) -> tuple[Row, ...]:
    """The rows of table 2 where placements vary, of table 1 where they do not."""
    if runs.network_placement.nunique() < 2:
        return SHORTCUTS
    column = 2 if (runs.depth == 164).all() else 1
    return tuple(
        Row(str(found[0]), float(found[column]), {"placement": placement, "skip": True})
        for placement, found in PLACEMENTS.items()
    )


def named(runs: pd.DataFrame, rows: Sequence[Row]) -> pd.DataFrame:
    """The runs of a row, with its name in `row`; errors in percent in `training error`,
    `test error`. A run that diverged has learnt nothing: 100 %."""
    names = pd.Series(pd.NA, index=runs.index, dtype="object")
    for row in rows:
        names[row.holds(runs)] = row.name
    errors = {
        "training error": 100 * runs.final_train_error.fillna(1.0),
        "test error": 100 * runs.final_test_error.fillna(1.0),
    }
    return runs.assign(row=names, **errors).dropna(subset="row")


def error_table(runs: pd.DataFrame, rows: Sequence[Row]) -> Table:
    """Both errors here, with 95 % t intervals, and the paper's."""
    paper = "He et al. 2016, test %"
    found: list[dict[str, Cell]] = []
    for row in rows:
        group = runs[runs.row == row.name]
        if len(group):
            found.append(
                {
                    "": row.name,
                    "training error %": group["training error"].mean(),
                    "test error % (95 % interval)": interval(group["test error"]),
                    "seeds": len(group),
                    "diverged": int(group.diverged_at.notna().sum()),
                    paper: "fail" if row.paper == FAIL else row.paper,
                }
            )
    return Table(found, {paper: ".2f"})


def agreement(runs: pd.DataFrame, rows: Sequence[Row]) -> str:
    """A sentence: how far the order of the test errors is the paper's.

    Spearman's correlation of the means, rows that fail in the paper sharing one rank, and the
    pairs of rows that the paper puts in an order and that stand in the same order here.
    """
    frame = pd.DataFrame(
        {
            "here": runs.groupby("row")["test error"].mean(),
            "paper": pd.Series({row.name: row.paper for row in rows}),
        }
    ).dropna()
    rho = np.corrcoef(frame.here.rank(), frame.paper.rank())[0, 1]
    ordered = [(a, b) for a, b in combinations(frame.itertuples(), 2) if a.paper != b.paper]
    same = sum((a.here - b.here) * np.sign(a.paper - b.paper) > 0 for a, b in ordered)
    return (
        f"Order of the test errors here and in the paper: Spearman's rho {rho:.2f} over "
        f"{len(frame)} rows; {same} of {len(ordered)} pairs stand in the same order."
    )


def draw(
    study: Study, runs: pd.DataFrame, rows: Sequence[Row], name: str, formats: Sequence[str]
) -> list[Path]:
    rows = [row for row in rows if (runs.row == row.name).any()]
    rows = sorted(rows, key=lambda row: -min(row.paper, SHOWN))  # the best stands on top
    names = [row.name for row in rows]
    options = {"sharey": True, "gridspec_kw": {"width_ratios": [2, 1]}}
    with style.figure(1, 2, height=0.9 + 0.2 * len(rows), **options) as (made, axes):
        errors_by_row(runs, names, ax=axes[0, 0])
        papers_by_row(rows, ax=axes[0, 1])
        made.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
        style.letter_panels(axes[0])
        depth = int(runs.depth.max())
        caption = (
            f"Final errors of networks of depth {depth} (a) and what He et al. 2016 report (b), "
            "in the paper's order. Small marks: single seeds; large: means; bars: 95 % t "
            "intervals over seeds, cut at 0 and 100 %; triangles: above 20 %, 'fail' in the paper."
        )
        return style.save(made, study, name, caption, formats)


def errors_by_row(runs: pd.DataFrame, names: Sequence[str], *, ax: Axes) -> Axes:
    """Training and test error by row, the first name at the bottom."""
    places = {name: place for place, name in enumerate(names)}
    for (split, color), shift in zip(SPLITS.items(), (-0.16, 0.16), strict=True):
        summary = intervals_by(runs, ["row"], split)
        low = summary.low.fillna(summary["mean"]).clip(0, 100)
        high = summary.high.fillna(summary["mean"]).clip(0, 100)
        ax.errorbar(
            summary["mean"],
            summary.row.map(places) + shift,
            xerr=[summary["mean"] - low, high - summary["mean"]],
            color=color,
            marker="s" if split == "test error" else "o",
            lw=0,
            elinewidth=0.9,
            capsize=2,
            label=split,
        )
        ax.plot(runs[split], runs.row.map(places) + shift, ".", color=color, alpha=0.5, ms=3)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(-0.6, len(names) - 0.4)
    ax.set_xlim(-2, 102)
    ax.set_xlabel("error here (%)")
    ax.grid(axis="y", lw=0.4, color="0.9")
    return ax


def papers_by_row(rows: Sequence[Row], *, ax: Axes) -> Axes:
    """The paper's test errors; those that fail at the right edge."""
    for place, row in enumerate(rows):
        fails = row.paper == FAIL
        ax.plot(min(row.paper, SHOWN), place, ">" if fails else "D", color="k", markersize=4)
    if any(row.paper == FAIL for row in rows):
        ax.set_xticks([10, 15, SHOWN], ["10", "15", "> 20"])
    ax.set_xlabel("test error in the paper (%)")
    ax.grid(axis="y", lw=0.4, color="0.9")
    ax.tick_params(axis="y", length=0)
    return ax


def main() -> None:
    run_script(analyse, __doc__, swept=SWEPT)
