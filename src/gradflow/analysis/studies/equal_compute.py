"""Is the gap only a matter of budget? Training error against what the training cost.

python analysis/equal_compute.py outputs/equal_compute
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from gradflow.analysis.figures import style
from gradflow.analysis.study import Study, run_script
from gradflow.analysis.tables import Cell, Table, shown
from gradflow.core.errors import GradflowError
from gradflow.statistics import Interval, interval, intervals_by

SWEPT = ("steps",)
PASSES = 3  # a step costs a forward pass and, to both the input and the weights, a backward one
ALIKE = 1.05  # budgets that differ by less are one: steps are whole numbers


def analyse(study: Study, formats: Sequence[str]) -> list[Path]:
    """The figure, the table and what it answers; prints the last two.

    Raises:
        GradflowError: no two depths have had an equal budget of multiply-accumulates.
    """
    runs = with_cost(study.runs)
    table = replace(error_table(runs), note=answer(runs))
    print(table)
    return [*study.save_table("equal_compute", table), *draw(study, runs, formats)]


def with_cost(runs: pd.DataFrame) -> pd.DataFrame:
    """`cost`, the training's multiply-accumulates; `budget`, relative to the deepest networks'
    shortest training; `error` in percent. A run that diverged has learnt nothing: 100 %."""
    cost = PASSES * runs.macs * runs.data_batch_size * runs.steps
    unit = cost[runs.depth == runs.depth.max()].min()
    error = 100 * runs.final_train_error.fillna(1.0)
    return runs.assign(cost=cost, budget=cost / unit, error=error)


def error_table(runs: pd.DataFrame) -> Table:
    """Training error by depth and steps, cheapest first, with intervals."""
    rows = []
    for (depth, _), group in runs.groupby(["depth", "steps"]):
        row: dict[str, Cell] = {
            "depth": int(depth),
            "steps": int(group.steps.iloc[0]),
            "budget": group.budget.iloc[0],
        }
        for twin in style.COLORS:
            errors = group[group.twin == twin].error
            title = f"{twin}, training error % (95 % interval)"
            row[title] = interval(errors) if len(errors) else None
        rows.append(row | {"seeds": group.seed.nunique()})
    return Table(rows, {"budget": ".2f"})


def answer(runs: pd.DataFrame) -> str:
    """How much worse the deepest networks are than the shallowest of an equal budget, by twin."""
    depths = sorted(runs.depth.unique())
    equal = runs[runs.budget.between(1 / ALIKE, ALIKE)]
    gaps = {twin: _rise(equal[equal.twin == twin], depths[0], depths[-1]) for twin in style.COLORS}
    if len(depths) < 2 or not all(gap.n for gap in gaps.values()):
        raise GradflowError(
            "no two depths have had an equal budget of multiply-accumulates; "
            "python experiments/train.py study=equal_compute makes such runs"
        )
    told = [f"{twin} {shown(gap, '.1f')}" for twin, gap in gaps.items()]
    return (
        f"At equal multiply-accumulates the training error of depth {depths[-1]} is above that of "
        f"depth {depths[0]} by so many points (95 % interval): {'; '.join(told)}."
    )


def _rise(runs: pd.DataFrame, shallow: int, deep: int) -> Interval:
    errors = runs.pivot_table(index="seed", columns="depth", values="error")
    errors = errors.reindex(columns=[shallow, deep]).dropna()
    return interval(errors[deep] - errors[shallow])


def draw(study: Study, runs: pd.DataFrame, formats: Sequence[str]) -> list[Path]:
    with style.figure(1, 2, height=2.5, sharex=True, sharey=True) as (made, axes):
        for ax, twin in zip(axes[0], style.COLORS, strict=True):
            error_against_cost(runs[runs.twin == twin], ax=ax)
            ax.set_title(f"{twin} networks")
        axes[0, 1].set_ylabel("")
        axes[0, 0].legend(title="depth", loc="center left")
        style.letter_panels(axes[0])
        caption = (
            "Training error in evaluation mode after the last step against the multiply-"
            f"accumulates of the whole training ({PASSES} forward passes a step), by depth; every "
            "mark is a training of its own, with its own learning-rate schedule. Small marks: "
            "single seeds; lines: means; bars: 95 % t intervals over seeds, cut at 0 and 100 %. "
            "Dotted: the budget that all depths have had."
        )
        return style.save(made, study, "equal_compute", caption, formats)


def error_against_cost(runs: pd.DataFrame, *, ax: Axes) -> Axes:
    """`error` against `cost` on a log axis, a line a depth; darker is deeper."""
    depths = sorted(runs.depth.unique())
    shades = style.depth_colors(depths)
    summary = intervals_by(runs, ["depth", "cost"], "error")
    for depth in depths:
        line = summary[summary.depth == depth]
        low = line.low.fillna(line["mean"]).clip(0, 100)
        high = line.high.fillna(line["mean"]).clip(0, 100)
        reach = [line["mean"] - low, high - line["mean"]]
        color = shades[depth]
        ax.errorbar(
            line.cost, line["mean"], yerr=reach, color=color, marker="o", capsize=2, label=depth
        )
        seeds = runs[runs.depth == depth]
        ax.plot(seeds.cost, seeds.error, ".", color=color, alpha=0.5, markersize=3)
    ax.axvline((runs.cost / runs.budget).iloc[0], color="0.6", lw=0.8, ls=":", zorder=0)
    ax.set_xscale("log")
    ax.set_ylim(-3, 103)
    ax.set_xlabel("multiply-accumulates of the training")
    ax.set_ylabel("training error (%)")
    return ax


def main() -> None:
    run_script(analyse, __doc__, swept=SWEPT)
