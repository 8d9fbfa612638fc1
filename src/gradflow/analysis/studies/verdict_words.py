"""The verdict in sentences, and in the few columns that a terminal has room for."""

import textwrap
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from gradflow.analysis.numbers import Cell, number, shown
from gradflow.analysis.swept import label
from gradflow.statistics import Interval
from gradflow.verdict.gradient import EXPLODING, LEVEL, MOMENTS, UNCLEAR, UNKNOWN, VANISHING
from gradflow.verdict.outcome import DEGRADATION, NO_DIFFERENCE, OVERFITTING, TOO_FEW
from gradflow.verdict.tuning import DOES_NOT, NO_GAP, ONE_RATE, REMOVES

SENTENCES = 12  # rows of a verdict that have a sentence each
WIDTH = 100  # letters in a line of the terminal
GRADIENT_VERBS = {
    VANISHING: "vanishes",
    EXPLODING: "explodes",
    LEVEL: "is level",
    UNCLEAR: "differs too much from seed to seed to tell",
    UNKNOWN: "is unknown",
}
TUNED = {
    REMOVES: "another learning rate removes the gap",
    DOES_NOT: "no learning rate of the sweep removes the gap",
    NO_GAP: "there is no gap for another learning rate to remove",
    ONE_RATE: "one learning rate was tried",
}
COLUMNS = ("depth", "outcome", "plain - residual", "plain gradient: first step, last", "tuning")


def brief(verdict: pd.DataFrame, settings: Sequence[str] = ()) -> str:
    """The answer in lines of at most `WIDTH` letters: a row per depth below its setting, what it
    means, and which files have the numbers."""
    rows = [_brief_row(row) for _, row in verdict.iterrows()]
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    names = [next(iter(setting_cells(row, settings).values()), "") for _, row in verdict.iterrows()]
    lines = [_aligned(COLUMNS, widths)]
    for name, group in groupby(zip(names, rows, strict=True), key=lambda pair: pair[0]):
        lines += _wrapped(str(name))
        lines += [_aligned(row, widths) for _, row in group]
    notes = [judged_at(verdict)]
    notes.append(
        "Plain - residual: training error in points, with its 95 % interval. Every number and "
        "test: tables/verdict_numbers.csv."
    )
    if settings:
        notes.append("Settings ranked, each at its own best rate: tables/verdict_settings.csv.")
    words = [part for line in sentences(verdict, settings).split("\n") for part in _wrapped(line)]
    return "\n".join([*lines, "", *words, "", *(part for note in notes for part in _wrapped(note))])


def _brief_row(row: "pd.Series[Any]") -> tuple[str, ...]:
    found = interval_of(row, "from_twin")
    one = np.isnan(found.low)
    return (
        str(int(row.depth)),
        row.outcome,
        number(found.mean, ".1f") if one else shown(found, ".1f"),
        ", ".join(row[f"plain_gradient_{moment}"] for moment in MOMENTS),
        row.tuning,
    )


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    depth, *words = row
    cells = [depth.rjust(widths[0]), *map(str.ljust, words, widths[1:])]
    return "  ".join(cells).rstrip()


def _wrapped(text: str) -> list[str]:
    indent = "  " if text.startswith("- ") else ""
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_long_words=False)


def judged_at(verdict: pd.DataFrame) -> str:
    """The learning rates of the outcomes, and whether more than one was tried."""
    rates = ", ".join(f"{rate:g}" for rate in sorted(verdict.rate.unique()))
    tried = "more than one was" if (verdict.tuning != ONE_RATE).any() else "no other one was"
    return f"Judged at learning rate {rates}; {tried} tried."


def sentences(verdict: pd.DataFrame, settings: Sequence[str] = ()) -> str:
    """A Markdown list, one sentence per row; of long verdicts a line per outcome and reason."""
    if len(verdict) > SENTENCES:
        counts = verdict.apply(outcome_of, axis=1).value_counts()
        return "\n".join(f"- {word}: {n} of {len(verdict)} rows" for word, n in counts.items())
    lines = []
    for _, row in verdict.iterrows():
        setting = "".join(f"{text}: " for text in setting_cells(row, settings).values())
        lines.append(f"- {setting}{sentence(row)}")
    return "\n".join(lines)


def outcome_of(row: "pd.Series[Any]") -> str:
    """The word, and why nothing is claimed."""
    return f"{row.outcome} ({row.reason})" if row.reason else str(row.outcome)


def sentence(row: "pd.Series[Any]") -> str:
    """A row of the verdict in plain words."""
    above = {
        name: f"{getattr(row, name):.1f} points above" for name in ("from_shallower", "from_twin")
    }
    outcome = {
        DEGRADATION: f"degradation: the plain network's training error is {above['from_shallower']}"
        f" that of depth {row.shallower_depth:.0f} and {above['from_twin']} its residual twin's",
        OVERFITTING: f"overfitting: the plain network's test error is "
        f"{row.test_from_twin:.1f} points above its residual twin's, its training error is not",
        NO_DIFFERENCE: "no difference: the plain network's training error is within a point of "
        "its residual twin's",
        TOO_FEW: f"no claim: {row.reason}{_so_far(row)}",
    }.get(row.outcome, f"inconclusive: {row.reason}")
    unknown = "whether another learning rate would change this is unknown"
    return f"Depth {row.depth}, {outcome}. {_gradient(row)}; {TUNED.get(row.tuning, unknown)}."


def _so_far(row: "pd.Series[Any]") -> str:
    """What too few seeds have shown of the error, which is no claim."""
    if np.isnan(row.from_twin):
        return ""
    points, side = abs(row.from_twin), "above" if row.from_twin > 0 else "below"
    far = f"{points:.1f} points {side} its" if points >= 0.05 else "within 0.05 points of its"
    seeds = f"Over {row.from_twin_n:.0f} seeds" if row.from_twin_n > 1 else "In one seed"
    mean = "mean " if row.from_twin_n > 1 else ""
    return f". {seeds} the plain network's {mean}training error is {far} residual twin's"


def _gradient(row: "pd.Series[Any]") -> str:
    """What the plain network's gradient does; of too few seeds for a word, its ratio."""
    words = [row[f"plain_gradient_{moment}"] for moment in MOMENTS]
    if words != [UNKNOWN, UNKNOWN]:
        first, last = (GRADIENT_VERBS[word] for word in words)
        then = "" if first == last else f"{last} "
        return f"The plain network's gradient {first} at the first step and {then}at the last"
    ratios = [row.get(f"plain_ratio_{moment}", np.nan) for moment in MOMENTS]
    measured = [
        f"{number(ratio, '.2g')} at the {step}"
        for ratio, step in zip(ratios, ("first step", "last"), strict=True)
        if not np.isnan(ratio)
    ]
    if not measured:
        return "Of its gradient too little was recorded"
    return f"Its gradient's end-to-end ratio is {' and '.join(measured)}, of too few seeds to judge"


def setting_cells(row: "pd.Series[Any]", settings: Sequence[str]) -> dict[str, Cell]:
    """The cell that names a row's setting; none of a study of one."""
    return {"setting": label({name: row[name] for name in settings})} if settings else {}


def interval_of(row: "pd.Series[Any]", name: str, method: str = "logit t") -> Interval:
    """A number of the verdict with its interval."""
    count = int(row.get(f"{name}_n", row.from_twin_n))
    return Interval(row[name], row[f"{name}_low"], row[f"{name}_high"], count, method)
