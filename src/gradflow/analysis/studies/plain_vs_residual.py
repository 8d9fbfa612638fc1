"""Plain against residual networks of several kinds: a column per norm or per family.

python analysis/plain_vs_residual.py outputs/normalization
python analysis/plain_vs_residual.py outputs/beyond_cnn
"""

import pandas as pd

from gradflow.analysis.figures import style
from gradflow.analysis.frames import groups
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.studies.degradation import error_against_depth
from gradflow.analysis.studies.gradient_highway import ratio_against_depth
from gradflow.analysis.swept import TWINS_DIFFER_IN
from gradflow.analysis.tables import Cell, Table
from gradflow.analysis.task_words import RELATIVE, error_name
from gradflow.core.errors import GradflowError
from gradflow.records import SCHEMAS
from gradflow.statistics import POINTS, interval
from gradflow.verdict.gradient import end_to_end

SWEPT = tuple(
    c for c in SCHEMAS["runs"].names if c.startswith("network_") and c not in TWINS_DIFFER_IN
)
COLUMNS = 6  # a page has no room for more


def analyze(output: Output) -> None:
    """The figure and the table of a study.

    Raises:
        GradflowError: there are more kinds of networks than a figure has columns.
    """
    study = output.study
    kinds = kinds_of(study.runs)
    if kinds.nunique() > COLUMNS:
        raise GradflowError(
            f"{study.folder}: {kinds.nunique()} kinds of networks, and a figure has room for "
            f"{COLUMNS}; choose with --where, such as --where network_norm=batch"
        )
    runs = study.runs.assign(kind=kinds, error=100 * study.runs.final_train_error)
    output.add_table("plain_vs_residual", error_table(runs))
    draw(output, runs)


def kinds_of(runs: pd.DataFrame) -> "pd.Series[str]":
    """A name for a run's network without depth and skip: its family, if there are several, and
    every option in which the networks of one family differ."""
    by_family = runs.groupby("network_name")
    differ = [c for c in SWEPT if by_family[c].nunique(dropna=False).max() > 1]
    parts = [
        runs[c].astype(str).replace("none", "no") + f" {c.removeprefix('network_')}" for c in differ
    ]
    if runs.network_name.nunique() > 1 or not parts:
        parts.insert(0, runs.network_name.str.replace("_", " "))
    first, *others = parts
    names: pd.Series[str] = first.str.cat(others, sep=", ") if others else first
    return names


def error_table(runs: pd.DataFrame) -> Table:
    """Training error by kind and depth, and the twins' paired difference."""
    rows: list[dict[str, Cell]] = []
    for (kind, depth), group in groups(runs, ["kind", "depth"]):
        errors = group.pivot_table(index="seed", columns="twin", values="error", dropna=False)
        errors = errors.reindex(columns=list(style.COLORS))
        row: dict[str, Cell] = {"network": kind, "depth": int(depth)}
        for twin in style.COLORS:
            found = group[group.twin == twin].error
            row[f"{twin}, training error %"] = found.mean() if found.notna().any() else "diverged"
        row["plain - residual, points (95 % interval)"] = interval(
            (errors.plain - errors.residual).dropna(), within=POINTS
        )
        diverged = int(group.error.isna().sum())
        rows.append(row | {"seeds": group.seed.nunique(), "diverged": diverged})
    return Table(rows)


def draw(output: Output, runs: pd.DataFrame) -> None:
    """Error and end-to-end ratio against depth, a column per kind of network."""
    columns = ["step", "block_index", "input_grad_norm"]
    ratios = end_to_end(output.study.records("blocks", columns, step=0))
    ratios = ratios.merge(runs[["run_id", "kind"]])
    kinds = sorted(runs.kind.unique())
    labels = [error_name(runs[runs.kind == kind]) for kind in kinds]
    with output.figure(2, len(kinds), height=4.2, sharey="row") as (made, axes):
        limits = []
        for column, kind in enumerate(kinds):
            here = runs[runs.kind == kind]
            error_against_depth(here, ax=axes[0, column]).set_ylabel(labels[column])
            # Each column sets the limits of the whole row.
            limits.append(
                ratio_against_depth(ratios[ratios.kind == kind], ax=axes[1, column]).get_ylim()
            )
            axes[0, column].set_title(kind)
            axes[0, column].set_xlabel("")
            if len(kinds) > 3:  # no room for more words
                axes[1, column].set_xlabel("depth")
            if column and labels[column] == labels[column - 1]:
                axes[0, column].set_ylabel("")
        axes[0, 0].set_ylim(-3, max(103, 1.03 * runs.error.max()))
        lows, highs = zip(*limits, strict=True)
        axes[1, 0].set_ylim(min(lows), max(highs))
        axes[1, 0].set_ylabel("end-to-end gradient ratio")
        style.legend(made, axes.flat)
        caption = (
            "Training error in evaluation mode after the last step (top) and, at initialization, "
            "the norm of the gradient at the first block's input over that at the last block's "
            "output (bottom). Open marks: single seeds; lines: the median of the runs that did "
            "not diverge; crosses at the upper edge: runs that diverged. "
            f"{RELATIVE}"
        )
        output.add_figure(made, "plain_vs_residual", caption)


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__, swept=SWEPT)
