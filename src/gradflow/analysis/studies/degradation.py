"""Does training error rise with depth? Plain against residual networks of a study.

python analysis/degradation.py outputs/degradation
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gradflow.analysis.figures import style
from gradflow.analysis.study import Study, run_script
from gradflow.analysis.tables import Table
from gradflow.core.errors import GradflowError
from gradflow.statistics import holm, interval, intervals_by, paired_test

WINDOW = 5  # steps of the running mean that the training curves are smoothed by
LATE = 10  # steps at the end that a run's late training loss is the mean of


def analyse(study: Study, formats: Sequence[str]) -> list[Path]:
    """Both figures and the table of a study; prints the table."""
    table = error_table(study.runs)
    print(table)
    paths = study.save_table("degradation", table)
    steps = study.records("steps", ["step", "loss"])
    return [*paths, *draw_degradation(study, steps, formats), *draw_curves(study, steps, formats)]


def draw_degradation(study: Study, steps: pd.DataFrame, formats: Sequence[str]) -> list[Path]:
    runs = study.runs.assign(error=100 * study.runs.final_train_error)
    runs = runs.merge(late_losses(steps), on="run_id")
    with style.figure(1, 2, height=2.5) as (made, axes):
        error_against_depth(runs, ax=axes[0, 0]).legend(loc="best")
        loss_against_depth(runs, ax=axes[0, 1])
        style.letter_panels(axes[0])
        caption = (
            "Training error in evaluation mode after the last step (a), and mini-batch training "
            f"loss over the last {LATE} steps (b), against depth. Small marks: single seeds. "
            "Lines: (a) mean, (b) geometric mean; bars: 95 % t intervals over seeds, (a) cut at "
            "0 and 100 %, (b) of the logarithm."
        )
        return style.save(made, study, "degradation", caption, formats)


def draw_curves(study: Study, steps: pd.DataFrame, formats: Sequence[str]) -> list[Path]:
    with style.figure(1, 2, height=2.5, sharey=True) as (made, axes):
        for ax, twin in zip(axes[0], style.COLORS, strict=True):
            training_curves(steps[steps.twin == twin], ax=ax)
            ax.set_title(f"{twin} networks")
        axes[0, 1].set_ylabel("")
        style.letter_panels(axes[0])
        caption = (
            f"Mini-batch training loss by step and depth: geometric mean over seeds of a running "
            f"mean of {WINDOW} steps; bands: 95 % t intervals."
        )
        return style.save(made, study, "training_curves", caption, formats)


def error_against_depth(runs: pd.DataFrame, *, ax: Axes) -> Axes:
    """Training error in percent (column `error`) against `depth`, by `twin`."""
    _against_depth(runs, "error", ax=ax, log=False)
    ax.set_ylim(-3, max(103, 1.03 * runs.error.max()))
    ax.set_ylabel("training error (%)")
    return ax


def loss_against_depth(runs: pd.DataFrame, *, ax: Axes) -> Axes:
    """Training loss (`late_loss`) against `depth`, by `twin`; a log axis from a decade on."""
    _against_depth(runs, "late_loss", ax=ax, log=True)
    if runs.late_loss.max() > 10 * runs.late_loss.min():
        ax.set_yscale("log")
    ax.set_ylabel("training loss (nats)")
    return ax


def late_losses(steps: pd.DataFrame) -> pd.DataFrame:
    """A row a run: `late_loss`, the mean mini-batch loss of its last steps.

    In training mode, because the evaluation loss of a deep plain network measures how far
    batch norm's running averages lag behind, which can be any number of nats.
    """
    ordered = steps.sort_values("step").groupby("run_id").loss
    return ordered.apply(lambda loss: loss.tail(LATE).mean()).rename("late_loss").reset_index()


def _against_depth(runs: pd.DataFrame, value: str, *, ax: Axes, log: bool) -> None:
    summary = intervals_by(runs, ["twin", "depth"], value, log=log)
    for twin, color in style.COLORS.items():
        line = summary[summary.twin == twin]
        low, high = line.low.fillna(line["mean"]), line.high.fillna(line["mean"])
        if not log:
            # A regression's error may be above 100 %: no bar ends short of its mean.
            low, high = low.clip(lower=0), high.clip(upper=100)
            low, high = low.clip(upper=line["mean"]), high.clip(lower=line["mean"])
        ax.errorbar(
            line.depth,
            line["mean"],
            yerr=[line["mean"] - low, high - line["mean"]],
            color=color,
            marker=style.MARKERS[twin],
            capsize=2,
            label=twin,
        )
        seeds = runs[runs.twin == twin]
        ax.plot(seeds.depth, seeds[value], ".", color=color, alpha=0.5, markersize=3)
    style.depth_axis(ax, sorted(runs.depth.unique()))


def training_curves(steps: pd.DataFrame, *, ax: Axes) -> Axes:
    """Loss against step, a line a depth, labelled at its end; darker is deeper."""
    depths = sorted(steps.depth.unique())
    shades = style.depth_colors(depths)
    steps = steps.sort_values("step")
    smooth = steps.assign(
        loss=steps.groupby("run_id").loss.transform(lambda loss: loss.rolling(WINDOW, 1).mean())
    )
    summary = intervals_by(smooth, ["depth", "step"], "loss", log=True)
    for depth in depths:
        line = summary[summary.depth == depth]
        ax.plot(line.step, line["mean"], color=shades[depth], label=str(depth))
        ax.fill_between(line.step, line.low, line.high, color=shades[depth], alpha=0.15, lw=0)
    ax.set_yscale("log")
    ax.set_xlabel("step")
    ax.set_ylabel("training loss (nats)")
    ax.legend(title="depth", loc="lower left")
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
    rows, best, p_values = [], set(), []
    depths = list(errors.groupby("depth"))
    for index, (depth, group) in enumerate(depths):
        gaps = (group.plain - group.residual).dropna()
        means = {f"{twin}, training error %": group[twin].mean() for twin in style.COLORS}
        rows.append({"depth": int(depth), **means, GAP: interval(gaps), "seeds": len(group)})
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
    run_script(analyse, __doc__)
