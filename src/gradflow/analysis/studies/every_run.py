"""What does each swept key change? Every run of a study against each key, none left out.

python analysis/every_run.py outputs/mine
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gradflow.analysis.figures import plots, style
from gradflow.analysis.frames import groups
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.settings import key_of, levels, value_text
from gradflow.analysis.study import Study
from gradflow.analysis.swept import (
    EVERY_KEY,
    Setting,
    is_numeric,
    label,
    of_setting,
    settings_of,
    short_key,
    swept_keys,
)
from gradflow.analysis.tables import Cell, Table
from gradflow.analysis.task_words import error_name
from gradflow.core.errors import GradflowError
from gradflow.verdict.gradient import end_to_end

SWEPT = EVERY_KEY
ROWS = 6  # of panels on a page
COLUMNS = 5
DODGE = 0.12  # of the distance of two values, by which plain stands left and residual right
LOST = "x"  # a run without a number
LETTERS = 24  # of all values below a panel, that have room side by side


def analyze(output: Output) -> None:
    """A table of all settings; for each swept key the error and the end-to-end ratio.

    Raises:
        GradflowError: nothing but depth, skip and seed was swept.
    """
    study = output.study
    keys = swept_keys(study.runs)
    if not keys:
        raise GradflowError(f"{study.folder}: nothing was swept but depth, skip and seed")
    runs = study.runs.assign(error=100 * study.runs.final_train_error.astype(float))
    title = error_name(runs)
    output.add_table("settings", settings_table(runs, keys))
    ratios = first_ratios(study)
    for key in keys:
        others = [name for name in keys if name != key]
        draw(output, runs, key, others, "error", title, f"error_by_{short_key(key)}")
        if ratios is not None:
            with_ratios = runs.merge(ratios, on="run_id", how="left")
            name = f"gradient_ratio_by_{short_key(key)}"
            draw(output, with_ratios, key, others, "ratio", "end-to-end gradient ratio", name)


def first_ratios(study: Study) -> pd.DataFrame | None:
    """run_id and `ratio` at the first measured step; None if no gradient was recorded."""
    try:
        steps = study.records("blocks", ["step"], block_index=0)
        first = sorted(int(step) for step in steps.groupby("run_id").step.min().unique())
        columns = ["step", "block_index", "input_grad_norm"]
        ratios = end_to_end(study.records("blocks", columns, step=first))
    except GradflowError:
        return None
    ratios = ratios.sort_values("step").drop_duplicates("run_id")
    return ratios[["run_id", "ratio"]] if ratios.ratio.notna().any() else None


def settings_table(runs: pd.DataFrame, keys: Sequence[str]) -> Table:
    """A row per setting, depth and twin: the training error of every seed."""
    rows: list[dict[str, Cell]] = []
    for setting in settings_of(runs, keys):
        for (depth, twin), found in groups(of_setting(runs, setting), ["depth", "twin"]):
            errors = found.sort_values("seed").error
            row: dict[str, Cell] = {key_of(name): value_text(v) for name, v in setting.items()}
            row |= {"depth": int(depth), "network": twin}
            row["training error %, each seed"] = ", ".join(
                "diverged" if np.isnan(error) else f"{error:.1f}" for error in errors
            )
            rows.append(row | {"median": float(errors.median()), "seeds": found.seed.nunique()})
    return Table(rows, note="Seeds in ascending order; the median is of runs that did not diverge.")


def draw(
    output: Output,
    runs: pd.DataFrame,
    key: str,
    others: Sequence[str],
    value: str,
    title: str,
    name: str,
) -> None:
    """`value` of every run against a key: a column per depth, a row per setting of the others.

    If a page has no room for a row per setting, all settings are drawn into one.
    """
    rows = settings_of(runs, others)
    pooled = len(rows) > ROWS
    rows = [{}] if pooled else rows
    depths = sorted(runs.depth.unique())
    columns = [[depth] for depth in depths] if len(depths) <= COLUMNS else [depths]
    height = 0.9 + 1.55 * len(rows)
    with output.figure(len(rows), len(columns), height=height, sharey=True) as (
        made,
        axes,
    ):
        for setting, line in zip(rows, axes, strict=True):
            for within, ax in zip(columns, line, strict=True):
                here = of_setting(runs, setting)
                against_key(here[here.depth.isin(within)], runs, key, value, ax=ax)
                words = [f"depth {within[0]}"] if len(within) == 1 else ["all depths"]
                ax.set_title(", ".join([*words, *([label(setting)] if setting else [])]))
        limits(axes.flat, runs, value)
        for ax in axes.flat:
            ax.set(xlabel=key_of(key), ylabel=title)
            ax.label_outer()
        style.legend(made, list(axes.flat))
        output.add_figure(made, name, caption_of(key, others, value, pooled, rows))


def caption_of(
    key: str, others: Sequence[str], value: str, pooled: bool, rows: Sequence[Setting]
) -> str:
    """What is drawn, and where the other keys are."""
    what = {
        "error": "Error in evaluation mode on the training data after the last step",
        "ratio": "End-to-end ratio at the first measured step (norm of the loss gradient at the "
        "first block's input over that at the last block's output)",
    }[value]
    text = (
        f"{what} of every run, against {key_of(key)}. An open mark is a run; short lines are "
        "medians, runs without a value counted as above all others. "
    )
    names = ", ".join(map(key_of, others))
    if pooled:
        text += f"Runs of every value of {names} are in the same panel. "
    elif len(rows) > 1:
        text += f"Rows: {names}. "
    return text + "Crosses on the upper edge: runs without a value (diverged, or not recorded)."


def against_key(runs: pd.DataFrame, study: pd.DataFrame, key: str, value: str, *, ax: Axes) -> Axes:
    """A mark per run at its value of the key, plain left of residual; their medians.

    study: all runs, whose values of the key make the axis.
    """
    places = places_of(study[key])
    step = min(np.diff(sorted(places.values()))) if are_steps(study[key]) else 0.0
    twins = [twin for twin in style.COLORS if (study.twin == twin).any()]
    for twin in twins:
        shift = 0.0 if len(twins) == 1 else DODGE * step * (-1 if twin == "plain" else 1)
        look: dict[str, Any] = {"color": style.COLORS[twin], "ls": "none"}
        here = runs[runs.twin == twin]
        at = here[key].map(value_text).map(places).to_numpy(dtype=float) + shift
        values = here[value].to_numpy(dtype=float)
        known = np.isfinite(values) & ((values > 0) | (value != "ratio"))
        ax.plot(at[known], values[known], style.MARKERS[twin], mfc="none", ms=4, label=twin, **look)
        if (~known).any():
            ax.plot(
                at[~known], np.ones((~known).sum()), LOST, ms=5, clip_on=False,
                label=f"{twin}, no value", transform=ax.get_xaxis_transform(), **look,
            )  # fmt: skip
        for place in sorted(set(at)) if step else ():
            middle = plots.middle(np.where(known, values, np.inf)[at == place])
            if np.isfinite(middle):
                ends = place + np.array([-0.7, 0.7]) * DODGE * step
                ax.plot(ends, [middle, middle], color=style.COLORS[twin], lw=1.2)
    key_axis(ax, study[key], places, step)
    return ax


def are_steps(values: pd.Series) -> bool:
    """Whether a key's values stand side by side; else, as in a search, they are an axis."""
    return not is_numeric(values) or 1 < values.nunique() <= 2 * ROWS


def places_of(values: pd.Series) -> Mapping[str, float]:
    """Each value as text, and its place on the axis: evenly spaced in order, or its own."""
    found = levels(values)
    return {
        value_text(value): float(place if are_steps(values) else value)
        for place, value in enumerate(found)
    }


def key_axis(ax: Axes, values: pd.Series, places: Mapping[str, float], step: float) -> None:
    """Ticks at the values that stand side by side; a log axis for numbers that span a decade."""
    if not step:
        low, high = float(values.min()), float(values.max())
        if low > 0 and high >= 10 * low:
            ax.set_xscale("log")
            ax.set_xlim(low / 1.3, high * 1.3)
        else:
            ax.set_xlim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        return
    crowded = sum(map(len, places)) > LETTERS
    ax.set_xticks(list(places.values()), list(places), rotation=90 if crowded else 0)
    ax.set_xlim(-0.5, len(places) - 0.5)


def limits(axes: Sequence[Axes], runs: pd.DataFrame, value: str) -> None:
    """Room for every mark."""
    values = runs[value].astype(float)
    for ax in axes:
        if value == "ratio":
            style.log_axis(ax)
            ax.axhline(1, color=style.GUIDE, lw=0.8, ls=":", zorder=0)
            shown = values[np.isfinite(values) & (values > 0)]
            if len(shown):
                ax.set_ylim(min(0.08, shown.min() / 2), max(12, shown.max() * 2))
        else:
            top = values.max() if values.notna().any() else 100.0
            ax.set_ylim(-0.04 * top, max(1.0, 1.08 * top))


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__, swept=SWEPT)
