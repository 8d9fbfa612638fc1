"""Is the gap only a matter of budget? Training error against what the training cost.

python analysis/equal_compute.py outputs/equal_compute
"""

from dataclasses import replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from gradflow.analysis.figures import plots, style
from gradflow.analysis.frames import groups
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.tables import Cell, Table, shown
from gradflow.core.errors import GradflowError
from gradflow.statistics import PERCENT, POINTS, Interval, interval

SWEPT = ("steps",)
PASSES = 3  # a step costs a forward pass and, to both the input and the weights, a backward one
ALIKE = 1.05  # budgets that differ by less are one: steps are whole numbers


def analyze(output: Output) -> None:
    """The figure, and the table with its answer.

    Raises:
        GradflowError: no two depths have had an equal budget of multiply-accumulates.
    """
    runs = with_cost(output.study.runs)
    output.add_table("equal_compute", replace(error_table(runs), note=answer(runs)))
    draw(output, runs.assign(error=100 * runs.final_train_error))


def with_cost(runs: pd.DataFrame) -> pd.DataFrame:
    """`cost`, the training's multiply-accumulates; `budget`, relative to the deepest networks'
    shortest training; `error` in percent. A run that diverged counts as 100 %."""
    cost = PASSES * runs.macs * runs.data_batch_size * runs.steps
    unit = cost[runs.depth == runs.depth.max()].min()
    error = 100 * runs.final_train_error.fillna(1.0)
    return runs.assign(cost=cost, budget=cost / unit, error=error)


def error_table(runs: pd.DataFrame) -> Table:
    """Training error by depth and steps, cheapest first, with intervals."""
    rows = []
    for (depth, _), group in groups(runs, ["depth", "steps"]):
        row: dict[str, Cell] = {
            "depth": int(depth),
            "steps": int(group.steps.iloc[0]),
            "budget": group.budget.iloc[0],
        }
        for twin in style.COLORS:
            errors = group[group.twin == twin].error
            title = f"{twin}, training error % (95 % interval)"
            row[title] = interval(errors, within=PERCENT) if len(errors) else None
        rows.append(row | {"seeds": group.seed.nunique()})
    return Table(rows, {"budget": ".2f"})


def answer(runs: pd.DataFrame) -> str:
    """How much worse the deepest networks are than the shallowest of an equal budget, by twin."""
    depths = sorted(runs.depth.unique())
    equal = runs[runs.budget.between(1 / ALIKE, ALIKE)]
    gaps = {
        twin: _rise(equal[equal.twin == twin], depths[0], depths[-1])
        for twin in style.COLORS
        if len(depths) > 1
    }
    if not gaps or not all(gap.n for gap in gaps.values()):
        raise GradflowError(
            "no two depths have had an equal budget of multiply-accumulates; "
            "gradflow study equal_compute makes such runs"
        )
    rises = [f"{twin} {shown(gap, '.1f')}" for twin, gap in gaps.items()]
    return (
        f"At equal multiply-accumulates the training error of depth {depths[-1]} is above that of "
        f"depth {depths[0]} by this many points (95 % interval): {'; '.join(rises)}."
    )


def _rise(runs: pd.DataFrame, shallow: int, deep: int) -> Interval:
    errors = runs.pivot_table(index="seed", columns="depth", values="error")
    errors = errors.reindex(columns=[shallow, deep]).dropna()
    return interval(errors[deep] - errors[shallow], within=POINTS)


def draw(output: Output, runs: pd.DataFrame) -> None:
    """Error against cost, a panel per twin."""
    with output.figure(1, 2, height=2.5, sharex=True, sharey=True) as (made, axes):
        for ax, twin in zip(axes[0], style.COLORS, strict=True):
            error_against_cost(runs[runs.twin == twin], ax=ax)
            ax.set_title(f"{twin} networks")
        axes[0, 1].set_ylabel("")
        style.legend(made, axes[0], title="depth")
        style.letter_panels(axes[0])
        caption = (
            "Training error in evaluation mode after the last step against the multiply-"
            f"accumulates of the whole training ({PASSES} forward passes per step), by depth; "
            "every mark is a separate training with its own learning-rate schedule. Open marks: "
            "single seeds; lines: their median. "
            "Dotted: the budget that all depths share."
        )
        output.add_figure(made, "equal_compute", caption)


def error_against_cost(runs: pd.DataFrame, *, ax: Axes) -> Axes:
    """`error` against `cost` on a log axis, a line per depth; darker is deeper."""
    depths = sorted(runs.depth.unique())
    looks = style.depth_looks(depths)
    ax.set_xscale("log")
    plots.medians(runs, x="cost", y="error", hue="depth", looks=looks, ax=ax, lost="diverged")
    ax.axvline((runs.cost / runs.budget).iloc[0], color=style.GUIDE, lw=0.8, ls=":", zorder=0)
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_ylim(-3, 103)
    ax.set_xlabel("multiply-accumulates of the training")
    ax.set_ylabel("training error (%)")
    return ax


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__, swept=SWEPT)
