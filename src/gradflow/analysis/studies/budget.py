"""Is degradation a matter of budget? Training error against the number of training steps.

python analysis/budget.py outputs/budget
"""

from collections.abc import Sequence

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
    """Error against steps, a panel per twin."""
    with output.figure(1, 2, height=2.6, sharex=True, sharey=True) as (made, axes):
        for ax, twin in zip(axes[0], ("plain", "residual"), strict=True):
            error_by_steps(runs[runs.twin == twin], ax=ax)
            ax.set_title(f"{twin} networks")
        axes[0, 1].set_ylabel("")
        style.legend(made, axes[0], title="depth")
        style.letter_panels(axes[0])
        caption = (
            "Training error in evaluation mode after the last step against the number of steps; "
            "each is a training of its own, with its own learning-rate schedule. Open marks: "
            "single seeds; lines: their median."
        )
        output.add_figure(made, "budget", caption)


def error_by_steps(runs: pd.DataFrame, *, ax: Axes) -> Axes:
    """`error` against `steps` on a log axis, a line per depth; darker is deeper."""
    depths = sorted(runs.depth.unique())
    looks = style.depth_looks(depths)
    # Side by side, so that the seeds of several depths stay visible.
    shifts = {d: 1.03 ** (i - (len(depths) - 1) / 2) for i, d in enumerate(depths)}
    aside = runs.assign(place=runs.steps * runs.depth.map(shifts))
    plots.medians(aside, x="place", y="error", hue="depth", looks=looks, ax=ax, lost="diverged")
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
