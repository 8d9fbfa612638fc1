"""Tables 1 and 2 of He et al. 2016, measured here, beside the paper's: shortcuts and placements.

python analysis/he2016.py outputs/he2016_shortcuts
python analysis/he2016.py outputs/he2016_activations
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gradflow.analysis.figures import plots, style
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.studies.he2016_rows import FAIL, PUBLISHED_PLACEMENTS, SHORTCUTS, Row
from gradflow.analysis.tables import Cell, Table
from gradflow.core.errors import GradflowError
from gradflow.statistics import PERCENT, interval

SWEPT = tuple(
    f"network_{key}"
    for key in ("shortcut", "shortcut_scale", "branch_scale", "gate_bias", "placement")
)
SHOWN = 20.0
SPLITS = {"training error": "0.5", "test error": "k"}  # the colors of twins mean twins


def analyze(output: Output) -> None:
    """The table and the figure of either study.

    Raises:
        GradflowError: the study has fewer than two rows of either table.
    """
    study = output.study
    rows = table_of(study.runs)
    runs = named(study.runs, rows)
    if runs.row.nunique() < 2:
        raise GradflowError(
            f"{study.folder}: has fewer than two rows of a table of He et al. 2016; "
            "gradflow study he2016_shortcuts makes them"
        )
    name = "he2016_activations" if rows is not SHORTCUTS else "he2016_shortcuts"
    output.add_table(name, replace(error_table(runs, rows), note=agreement(runs, rows)))
    draw(output, runs, rows, name)


def table_of(runs: pd.DataFrame) -> tuple[Row, ...]:
    """The rows of table 2 if placements vary, else of table 1."""
    if runs.network_placement.nunique() < 2:
        return SHORTCUTS
    column = 2 if (runs.depth == 164).all() else 1
    return tuple(
        Row(str(found[0]), float(found[column]), {"placement": placement, "skip": True})
        for placement, found in PUBLISHED_PLACEMENTS.items()
    )


def named(runs: pd.DataFrame, rows: Sequence[Row]) -> pd.DataFrame:
    """The runs of a row, with its name in `row`; errors in percent in `training error`,
    `test error`. A run that diverged counts as 100 %."""
    names = pd.Series(pd.NA, index=runs.index, dtype="object")
    for row in rows:
        names[row.holds(runs)] = row.name
    errors = {
        "training error": 100 * runs.final_train_error.fillna(1.0),
        "test error": 100 * runs.final_test_error.fillna(1.0),
    }
    return runs.assign(row=names, **errors).dropna(subset="row")


def error_table(runs: pd.DataFrame, rows: Sequence[Row]) -> Table:
    """Both errors here, with 95 % intervals, and the paper's."""
    paper = "He et al. 2016, test %"
    found: list[dict[str, Cell]] = []
    for row in rows:
        group = runs[runs.row == row.name]
        if len(group):
            found.append(
                {
                    "": row.name,
                    "training error %": group["training error"].mean(),
                    "test error % (95 % interval)": interval(group["test error"], within=PERCENT),
                    "seeds": len(group),
                    "diverged": int(group.diverged_at.notna().sum()),
                    paper: "fail" if row.paper == FAIL else row.paper,
                }
            )
    return Table(found, {paper: ".2f"})


def agreement(runs: pd.DataFrame, rows: Sequence[Row]) -> str:
    """A sentence: how far the order of the test errors is the paper's.

    Spearman's correlation of the means, rows that fail in the paper sharing one rank, and the
    pairs of rows with different errors in the paper that have the same order here.
    """
    frame = pd.DataFrame(
        {
            "here": runs.groupby("row")["test error"].mean(),
            "paper": pd.Series({row.name: row.paper for row in rows}),
        }
    ).dropna()
    rho = np.corrcoef(frame.here.rank(), frame.paper.rank())[0, 1]
    pairs = combinations(zip(frame.here, frame.paper, strict=True), 2)
    ordered = [(a, b) for a, b in pairs if a[1] != b[1]]
    same = sum((a[0] < b[0]) == (a[1] < b[1]) and a[0] != b[0] for a, b in ordered)
    return (
        f"Order of the test errors here and in the paper: Spearman's rho {rho:.2f} over "
        f"{len(frame)} rows; {same} of {len(ordered)} pairs have the same order."
    )


def draw(output: Output, runs: pd.DataFrame, rows: Sequence[Row], name: str) -> None:
    """Errors here beside those of the paper, a row per network."""
    rows = [row for row in rows if (runs.row == row.name).any()]
    rows = sorted(rows, key=lambda row: -min(row.paper, SHOWN))  # the best on top
    names = [row.name for row in rows]
    options = {"sharey": True, "gridspec_kw": {"width_ratios": [2, 1]}}
    with output.figure(1, 2, height=0.9 + 0.2 * len(rows), **options) as (made, axes):
        errors_by_row(runs, names, ax=axes[0, 0])
        papers_by_row(rows, ax=axes[0, 1])
        style.legend(made, axes[0])
        style.letter_panels(axes[0])
        depth = int(runs.depth.max())
        caption = (
            f"Final errors of networks of depth {depth} (a) and what He et al. 2016 report (b), "
            "in the paper's order. Open marks: single seeds, at 100 % if they diverged; filled: "
            "their median; triangles: above 20 %, 'fail' in the paper."
        )
        output.add_figure(made, name, caption)


def errors_by_row(runs: pd.DataFrame, names: Sequence[str], *, ax: Axes) -> Axes:
    """Training and test error by row, the first name at the bottom."""
    places = {name: place for place, name in enumerate(names)}
    for (split, color), shift in zip(SPLITS.items(), (-0.16, 0.16), strict=True):
        look = {"color": color, "marker": "s" if split == "test error" else "o", "lw": 0}
        marks = runs.assign(place=runs.row.map(places) + shift, split=split)
        plots.medians(
            marks,
            x=split,
            y="place",
            hue="split",
            looks={split: look},
            ax=ax,
            orient="y",
        )
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
    """The command line."""
    run_script(analyze, __doc__, swept=SWEPT)
