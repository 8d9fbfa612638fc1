"""Is degradation a matter of budget? Training error against depth and number of training steps.

python analysis/budget.py outputs/budget
"""

from collections.abc import Sequence
from itertools import cycle

import pandas as pd
from matplotlib.axes import Axes

from gradflow.analysis.figures import plots, style
from gradflow.analysis.frames import groups
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.tables import Cell, Table

SWEPT = ("steps",)
FITS = 1.0  # percent: a network with a lower training error has fitted its data


def analyze(output: Output) -> None:
    """The figure, and the tables of errors and of the steps until a network fits."""
    runs = output.study.runs
    # A run that diverged has learned nothing that is left.
    runs = runs.assign(error=100 * runs.final_train_error.fillna(1.0))
    output.add_table("budget", error_table(runs))
    output.add_table("budget_steps", steps_table(runs))
    draw(output, runs.assign(error=100 * runs.final_train_error))


def error_table(runs: pd.DataFrame) -> Table:
    """Median and range of the training error over seeds, by depth and steps."""
    rows = []
    for (depth, steps), group in groups(runs, ["depth", "steps"]):
        row: dict[str, Cell] = {"depth": int(depth), "steps": int(steps)}
        for twin in style.COLORS:
            row[f"{twin}, training error %"] = spread(group[group.twin == twin].error)
        rows.append(row | {"seeds": int(group.groupby("twin").seed.nunique().min())})
    return Table(rows, note="Median over seeds (lowest ... highest seed).")


def spread(errors: pd.Series) -> str | None:
    """Median (lowest ... highest); None without a seed."""
    if errors.empty:
        return None
    return f"{errors.median():.1f} ({errors.min():.1f} ... {errors.max():.1f})"


def steps_table(runs: pd.DataFrame) -> Table:
    """The smallest budget of the study at which every seed, or any seed, fits."""
    rows = []
    for (depth,), group in groups(runs, ["depth"]):
        row: dict[str, Cell] = {"depth": int(depth)}
        for twin in style.COLORS:
            own = group[group.twin == twin]
            worst, best = own.groupby("steps").error.max(), own.groupby("steps").error.min()
            for title, errors in (("every seed", worst), ("any seed", best)):
                fits = errors[errors <= FITS]
                row[f"{twin}, {title}"] = (
                    f"{fits.index.min()}" if len(fits) else f"more than {errors.index.max()}"
                )
        rows.append(row)
    note = f"The fewest steps of the study after which the training error is at most {FITS:g} %."
    return Table(rows, note=note)


def draw(output: Output, runs: pd.DataFrame) -> None:
    """Error against depth, and against steps, a panel per twin."""
    with output.figure(2, 2, height=4.8, sharey=True) as (made, axes):
        budgets = sorted(runs.steps.unique())
        for (above, below), twin in zip(axes.T, style.COLORS, strict=True):
            error_by_depth(runs[runs.twin == twin], budgets, ax=above)
            error_by_steps(runs[runs.twin == twin], ax=below)
            above.set_title(f"{twin} networks")
        for ax in axes[:, 1]:
            ax.set_ylabel("")
        style.legend(made, axes.flat)
        style.letter_panels(axes.flat)
        caption = (
            "Training error in evaluation mode after the last step, by depth (a, b) and by number "
            "of steps (c, d); each is a training of its own, with its own learning-rate schedule. "
            "Open marks: single seeds; lines: their median."
        )
        output.add_figure(made, "budget", caption)


def error_by_depth(runs: pd.DataFrame, budgets: Sequence[int], *, ax: Axes) -> Axes:
    """`error` against `depth`, a line per number of steps; darker is more."""
    marks = cycle(style.DEPTH_MARKERS)
    names = {steps: f"{steps} steps" for steps in budgets}
    shades = style.shades(budgets, "YlOrBr", lightest=0.64, darkest=1.0)
    looks = {names[n]: {"color": shades[n], "marker": next(marks)} for n in budgets}
    named = runs.assign(budget=runs.steps.map(names))
    plots.medians(named, x="depth", y="error", hue="budget", looks=looks, ax=ax, lost="diverged")
    style.depth_axis(ax, sorted(runs.depth.unique()))
    ax.set_ylabel("training error (%)")
    ax.set_ylim(-3, 103)
    return ax


def error_by_steps(runs: pd.DataFrame, *, ax: Axes) -> Axes:
    """`error` against `steps` on a log axis, a line per depth; darker is deeper."""
    depths = sorted(runs.depth.unique())
    names = {depth: f"depth {depth}" for depth in depths}
    looks = {names[depth]: look for depth, look in style.depth_looks(depths).items()}
    # Side by side, so that the seeds of several depths stay visible.
    shifts = {d: 1.03 ** (i - (len(depths) - 1) / 2) for i, d in enumerate(depths)}
    aside = runs.assign(place=runs.steps * runs.depth.map(shifts), named=runs.depth.map(names))
    plots.medians(aside, x="place", y="error", hue="named", looks=looks, ax=ax, lost="diverged")
    steps_axis(ax, sorted(runs.steps.unique()))
    ax.set_xlabel("training steps")
    ax.set_ylabel("training error (%)")
    return ax


def steps_axis(ax: Axes, budgets: Sequence[int]) -> None:
    """Budgets as ticks of a log axis, percentages on the other."""
    ax.set_xscale("log")
    ax.set_xticks(budgets, [str(steps) for steps in budgets])
    ax.minorticks_off()
    ax.set_ylim(-3, 103)


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__, swept=SWEPT)
