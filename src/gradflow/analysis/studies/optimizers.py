"""Is degradation a matter of the optimizer? Training error against steps, by optimizer.

python analysis/optimizers.py outputs/optimizers
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd

from gradflow.analysis.figures import plots, style
from gradflow.analysis.frames import groups
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.studies.budget import FITS, spread, steps_axis
from gradflow.analysis.studies.learning_rate import at_own_best
from gradflow.analysis.tables import Cell, Table
from gradflow.core.errors import GradflowError
from gradflow.verdict import RATE

SWEPT = ("steps", "optimizer_name", "optimizer_clip_norm", "schedule_name", RATE)
CLIP = 1.0  # the norm that gradients are clipped to
SHIFT = 1.05  # of the steps, between the marks of two optimizers

LOOKS: dict[str, dict[str, Any]] = {
    "SGD": {"color": "#000000", "marker": "o"},
    "SGD, warm-up": {"color": "#0072B2", "marker": "s"},
    "SGD, warm-up, clipped": {"color": "#2F7F9E", "marker": "D", "ls": "--"},
    "AdamW": {"color": "#B8500B", "marker": "^"},
    "Muon": {"color": "#A4336F", "marker": "v"},
    "normalized steps": {"color": "#00785A", "marker": "P"},
}
"""How each is called and drawn; colors of Okabe and Ito (2008), dark enough on white."""


def analyze(output: Output) -> None:
    """The figure, and a table of errors and of the steps until each optimizer fits.

    Raises:
        GradflowError: the study has no optimizer that is named here.
    """
    runs = output.study.runs
    best = at_best_rates(runs)
    lost = int(names(runs).isna().sum())
    note = f" Left out: {lost} runs with another optimizer, schedule or clipping." if lost else ""
    if alone := int(best.error.isna().sum()):
        note += f" Left out: {alone} errors of seeds whose others share no rate."
        best = best.dropna(subset="error")
    table = error_table(best)
    output.add_table("optimizers", replace(table, note=table.note + note))
    output.add_table("optimizers_rates", rate_table(best))
    draw(output, best, note)


def at_best_rates(runs: pd.DataFrame) -> pd.DataFrame:
    """A row per optimizer, steps, depth, twin and seed: `error` at the rate best for the others,
    NaN if these have no rate in common; the `lowest` and the `highest` rate that was tried.

    Raises:
        GradflowError: no run has an optimizer of LOOKS.
    """
    # A run that diverged has learned nothing that is left.
    runs = runs.assign(error=100 * runs.final_train_error.fillna(1.0), optimizer=names(runs))
    runs = runs.dropna(subset="optimizer")
    if runs.empty:
        raise GradflowError(f"no run has an optimizer that is compared: {', '.join(LOOKS)}")
    parts = []
    for (optimizer, steps), group in groups(runs, ["optimizer", "steps"]):
        tried = group.groupby(["depth", "twin"])[RATE].agg(lowest="min", highest="max")
        own = at_own_best(group).merge(tried.reset_index(), on=["depth", "twin"])
        parts.append(own.assign(optimizer=optimizer, steps=steps))
    return pd.concat(parts, ignore_index=True)


def names(runs: pd.DataFrame) -> "pd.Series[Any]":
    """What each run's optimizer and schedule are called; None if they are not compared here."""

    def name(row: Any) -> str | None:
        warm, clipped = row.schedule_name == "one_cycle", pd.notna(row.optimizer_clip_norm)
        if row.schedule_name not in ("one_cycle", "cosine"):
            return None
        if clipped and row.optimizer_clip_norm != CLIP:  # its runs would be averaged with others
            return None
        if row.optimizer_name == "sgd":
            text = "SGD" + (", warm-up" if warm else "") + (", clipped" if clipped else "")
            return text if text in LOOKS else None
        others = {"adamw": "AdamW", "muon": "Muon", "normalized": "normalized steps"}
        return None if clipped or not warm else others.get(row.optimizer_name)

    columns = ["optimizer_name", "optimizer_clip_norm", "schedule_name"]
    return pd.Series([name(row) for row in runs[columns].itertuples()], index=runs.index)


def error_table(best: pd.DataFrame) -> Table:
    """Median and range over seeds by depth and optimizer, at each budget, and when it fits."""
    rows = []
    for row, own in _by_optimizer(best):
        for steps in sorted(best.steps.unique()):
            row[f"{steps} steps, error %"] = spread(own[own.steps == steps].error)
        worst = own.groupby("steps").error.max()
        fits = worst[worst <= FITS]
        row["every seed fits at"] = (
            f"{fits.index.min()}" if len(fits) else f"more than {worst.index.max()}"
        )
        rows.append(row | {"seeds": int(own.seed.nunique())})
    note = (
        "Training error, median over seeds (lowest ... highest), each seed at the learning rate "
        f"that is best for the other seeds. Fits: at most {FITS:g} % of errors."
    )
    return Table(rows, note=note)


def _by_optimizer(best: pd.DataFrame) -> Iterator[tuple[dict[str, Cell], pd.DataFrame]]:
    """Each table's rows: what one begins with, and the errors that it is of."""
    for (depth, twin), group in groups(best, ["depth", "twin"]):
        for optimizer in LOOKS:
            own = group[group.optimizer == optimizer]
            if len(own):
                yield {"depth": int(depth), "network": twin, "optimizer": optimizer}, own


def rate_table(best: pd.DataFrame) -> Table:
    """The rate that most seeds have, by depth and optimizer, at each budget, and those tried."""
    rows = []
    for row, own in _by_optimizer(best):
        for steps in sorted(best.steps.unique()):
            here = own[own.steps == steps]
            row[f"{steps} steps"] = _chosen(here) if len(here) else None
        rows.append(row)
    note = (
        "The learning rate at which most seeds are shown (lowest ... highest that was tried); the "
        "lowest of several. One at either end may not be the best there is."
    )
    return Table(rows, note=note)


def _chosen(best: pd.DataFrame) -> str:
    tried = f"{best.lowest.iloc[0]:g} ... {best.highest.iloc[0]:g}"
    return f"{best[RATE].mode().iloc[0]:g} ({tried})"


def draw(output: Output, best: pd.DataFrame, note: str) -> None:
    """Error against steps, a row of panels per depth of several optimizers, a column per twin."""
    several = best.groupby("depth").optimizer.nunique() > 1
    depths = list(several.index[several]) or sorted(best.depth.unique())
    with output.figure(
        len(depths), 2, height=0.6 + 1.9 * len(depths), sharex=True, sharey=True
    ) as (made, axes):
        for row, depth in zip(axes, depths, strict=True):
            for ax, twin in zip(row, style.COLORS, strict=True):
                here = best[(best.depth == depth) & (best.twin == twin)]
                looks = {name: LOOKS[name] for name in LOOKS if name in set(here.optimizer)}
                middle = (len(looks) - 1) / 2
                shifts = {name: SHIFT ** (place - middle) for place, name in enumerate(looks)}
                aside = here.assign(place=here.steps * here.optimizer.map(shifts))
                plots.medians(aside, x="place", y="error", hue="optimizer", looks=looks, ax=ax)
                steps_axis(ax, sorted(best.steps.unique()))
                ax.set_title(f"{twin}, depth {depth}")
                ax.set_xlabel("training steps" if depth == depths[-1] else "")
                ax.set_ylabel("training error (%)" if twin == next(iter(style.COLORS)) else "")
        style.legend(made, axes.flat)
        style.letter_panels(axes.flat)
        caption = (
            "Training error in evaluation mode after the last step against the number of steps, "
            "each a training of its own with its own schedule: SGD with momentum and cosine "
            "decay; the others with warm-up before it. Clipped: gradients of norm at most 1. Each "
            "seed at the learning rate that is best for the other seeds. Open marks: single "
            "seeds; lines: their median."
        )
        if single := [str(depth) for depth in several.index if depth not in depths]:
            caption += f" Of depth {', '.join(single)} there is one optimizer: in the table alone."
        output.add_figure(made, "optimizers", caption + note)


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__, swept=SWEPT)
