"""Does training error rise with depth? Plain against residual networks of a study.

python analysis/degradation.py outputs/degradation
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gradflow.analysis.figures import plots, style
from gradflow.analysis.frames import groups
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.tables import Cell, Table
from gradflow.analysis.task_words import RELATIVE, error_name, is_squared, loss_name
from gradflow.core.errors import GradflowError
from gradflow.statistics import POINTS, holm, interval, paired_test

WINDOW = 5  # steps of the running mean that smooths training curves
LATE = 10  # last steps of a run, whose mean is its late training loss


def analyze(output: Output) -> None:
    """Both figures and the table of a study."""
    study = output.study
    output.add_table("degradation", error_table(study.runs))
    columns = ["step", "split", "error", "batch_error"]
    evaluations = study.records("evaluations", columns).dropna(subset="batch_error")
    if len(evaluations):
        output.add_table("batch_statistics", batch_table(evaluations))
    steps = study.records("steps", ["step", "loss"])
    draw_degradation(output, steps)
    draw_curves(output, steps)


def batch_table(evaluations: pd.DataFrame) -> Table:
    """Training errors at the end, with batch norm's running averages and with each batch's own
    statistics: means over seeds, and where the two are farthest apart."""
    trained = evaluations[evaluations.split == "train"]
    last = trained[trained.step == trained.groupby("run_id").step.transform("max")]
    rows = []
    for (depth,), group in groups(last, ["depth"]):
        row: dict[str, Cell] = {"depth": int(depth)}
        for twin in style.COLORS:
            own = 100 * group.loc[group.twin == twin, ["error", "batch_error"]]
            apart = (own.error - own.batch_error).abs().max()
            row[f"{twin}, running averages"] = own.error.mean() if len(own) else None
            row[f"{twin}, batch statistics"] = own.batch_error.mean() if len(own) else None
            row[f"{twin}, farthest apart"] = apart if len(own) else None
        rows.append(row)
    return Table(rows, dict.fromkeys(rows[0], ".1f") | {"depth": "d"}, note=BATCH_NOTE)


BATCH_NOTE = (
    "Training error in percent after the last step: in evaluation mode, with batch norm's running "
    "averages, and with the statistics of batches as in training; means over seeds. Farthest "
    "apart: the largest difference of one network, in points."
)


def draw_degradation(output: Output, steps: pd.DataFrame) -> None:
    """Training error and training loss against depth."""
    runs = output.study.runs
    runs = runs.assign(error=100 * runs.final_train_error).merge(late_losses(steps), on="run_id")
    with output.figure(1, 2, height=2.5) as (made, axes):
        error_against_depth(runs, ax=axes[0, 0]).set_ylabel(error_name(runs))
        loss_against_depth(runs, ax=axes[0, 1])
        style.legend(made, axes[0])
        style.letter_panels(axes[0])
        caption = (
            "Training error in evaluation mode after the last step (a), and mini-batch training "
            f"loss over the last {LATE} steps (b), against depth. Open marks: single seeds; "
            "lines: their median. A cross at the upper edge is a run that diverged."
        )
        caption += f" {RELATIVE}" if is_squared(runs).any() else ""
        output.add_figure(made, "degradation", caption)


def draw_curves(output: Output, steps: pd.DataFrame) -> None:
    """Training loss by step, a panel per twin."""
    runs = output.study.runs
    with output.figure(1, 2, height=2.5, sharey=True) as (made, axes):
        for ax, twin in zip(axes[0], style.COLORS, strict=True):
            training_curves(steps[steps.twin == twin], ax=ax).set_ylabel(loss_name(runs))
            ax.set_title(f"{twin} networks")
        axes[0, 1].set_ylabel("")
        style.legend(made, axes[0], title="depth")
        style.letter_panels(axes[0])
        caption = (
            f"Mini-batch training loss by step and depth: median over seeds of a running mean of "
            f"{WINDOW} steps; bands: from the lowest to the highest seed. A cross ends the line "
            "of a run that diverged."
        )
        output.add_figure(made, "training_curves", caption)


def error_against_depth(runs: pd.DataFrame, *, ax: Axes) -> Axes:
    """Training error in percent (column `error`) against `depth`, by `twin`."""
    plots.medians(runs, x="depth", y="error", ax=ax, lost="diverged")
    style.depth_axis(ax, sorted(runs.depth.unique()))
    ax.set_ylim(-3, max(103, 1.03 * runs.error.max()))
    ax.set_ylabel("training error (%)")
    return ax


def loss_against_depth(runs: pd.DataFrame, *, ax: Axes) -> Axes:
    """Training loss (`late_loss`) against `depth`, by `twin`; a log axis if it spans a decade."""
    plots.medians(runs, x="depth", y="late_loss", ax=ax, log=True, lost="diverged")
    style.depth_axis(ax, sorted(runs.depth.unique()))
    if runs.late_loss.max() <= 10 * runs.late_loss.min():
        ax.set_yscale("linear")
    ax.set_ylabel(loss_name(runs))
    return ax


def late_losses(steps: pd.DataFrame) -> pd.DataFrame:
    """A row per run: `late_loss`, the mean mini-batch loss of its last steps.

    In training mode, because the evaluation loss of a deep plain network measures how far
    batch norm's running averages lag behind, which can be any number of nats.
    """
    ordered = steps.sort_values("step").groupby("run_id").loss
    return ordered.apply(lambda loss: loss.tail(LATE).mean()).rename("late_loss").reset_index()


def training_curves(steps: pd.DataFrame, *, ax: Axes) -> Axes:
    """Loss against step, a line per depth; darker is deeper."""
    depths = sorted(steps.depth.unique())
    steps = steps.sort_values("step")
    smooth = steps.assign(
        loss=steps.groupby("run_id").loss.transform(lambda loss: loss.rolling(WINDOW, 1).mean())
    )
    looks = {depth: {"color": color} for depth, color in style.depth_colors(depths).items()}
    plots.curves(smooth, x="step", y="loss", hue="depth", looks=looks, ax=ax, log=True)
    style.whole_axis(ax, "step")
    ax.set_ylabel("training loss")
    return ax


GAP = "plain - residual, points (95 % interval)"
SIGNIFICANT = 0.05


def error_table(runs: pd.DataFrame) -> Table:
    """Training error by depth, and the paired difference of the twins.

    Bold: the lower error of a depth. A star: plain above residual, by one-sided paired tests
    after Holm's correction over depths.

    Raises:
        GradflowError: there is no run that ended with an error.
    """
    ended = runs.dropna(subset="final_train_error")
    if ended.empty:
        raise GradflowError("every run of the study diverged; try a lower learning rate")
    errors = ended.pivot_table(
        index=["depth", "seed"], columns="twin", values="final_train_error"
    ).reindex(columns=list(style.COLORS))
    errors *= 100
    rows: list[dict[str, Cell]] = []
    best: set[tuple[int, str]] = set()
    p_values = []
    depths = list(groups(errors, "depth"))
    for index, (depth, group) in enumerate(depths):
        gaps = (group.plain - group.residual).dropna()
        means = {f"{twin}, training error %": float(group[twin].mean()) for twin in style.COLORS}
        row: dict[str, Cell] = {"depth": int(depth), **means}
        rows.append(row | {GAP: interval(gaps, within=POINTS), "seeds": len(group)})
        if len(gaps):
            best.add((index, min(means, key=lambda title: means[title])))
        p_values.append(paired_test(gaps, among=len(depths)).p)
    above = np.flatnonzero(holm(p_values) <= SIGNIFICANT)
    return Table(
        rows,
        best=frozenset(best),
        significant=frozenset((int(index), GAP) for index in above),
        note="Bold: lower. *: above 0, one-sided paired tests, p <= .05 after Holm's correction.",
    )


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__)
