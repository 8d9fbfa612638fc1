"""Verdict on each setting and depth of a study: outcome, gradient and tuning, in plain words.

gradflow verdict outputs/degradation
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.study import Study
from gradflow.analysis.swept import EVERY_KEY, label, swept_keys
from gradflow.analysis.tables import Cell, Table
from gradflow.config.run_id import TWINS
from gradflow.core.errors import GradflowError
from gradflow.statistics import Interval
from gradflow.verdict import RATE, judge_study
from gradflow.verdict.gradient import EXPLODING, LEVEL, MOMENTS, UNCLEAR, UNKNOWN, VANISHING
from gradflow.verdict.outcome import DEGRADATION, NO_DIFFERENCE, OVERFITTING, TOO_FEW
from gradflow.verdict.ranking import rank_settings
from gradflow.verdict.tuning import DOES_NOT, NO_GAP, ONE_RATE, REMOVES

SWEPT = EVERY_KEY
SENTENCES = 12  # rows of a verdict that have a sentence each
NETWORKS = tuple(TWINS.values())[::-1]  # plain, residual
GRADIENT_VERBS = {
    VANISHING: "vanishes",
    EXPLODING: "explodes",
    LEVEL: "is level",
    UNCLEAR: "differs too much from seed to seed to tell",
    UNKNOWN: "is unknown",
}


def analyze(output: Output) -> None:
    """The verdict as a table of words, with a sentence per row, and a table of numbers; and of a
    sweep of other keys the rank of each setting at its own best learning rate."""
    study = output.study
    settings = [name for name in swept_keys(study.runs) if name != RATE]
    verdict = judge_study(study.runs, end_blocks(study), settings=settings)
    output.add_table("verdict", words_table(verdict, settings))
    output.add_table("verdict_numbers", numbers_table(verdict, settings))
    if settings:
        ranks = rank_settings(study.runs, settings)
        output.add_table("verdict_settings", ranks_table(ranks, settings))


def end_blocks(study: Study) -> pd.DataFrame | None:
    """Each run's blocks records of its first and last measured step; None if there are none."""
    names = ["step", "block_index", "input_grad_norm"]
    try:
        first = study.records("blocks", ["step"], block_index=0)
    except GradflowError:  # a study without probes has its outcome all the same
        return None
    steps = first.groupby("run_id")["step"]
    ends = {int(step) for step in (*steps.min(), *steps.max())}
    return study.records("blocks", names, step=sorted(ends))


def words_table(verdict: pd.DataFrame, settings: Sequence[str] = ()) -> Table:
    """The words, a row per setting and depth; below, what they mean."""
    rows: list[dict[str, Cell]] = []
    for _, row in verdict.iterrows():
        plain, residual = (
            ", ".join(row[f"{twin}_gradient_{moment}"] for moment in MOMENTS) for twin in NETWORKS
        )
        rows.append(
            _setting_cells(row, settings)
            | {
                "depth": int(row.depth),
                "outcome": f"{row.outcome} ({row.reason})" if row.reason else row.outcome,
                "gradient, plain: first step, last": plain,
                "gradient, residual": residual,
                "tuning": row.tuning,
            }
        )
    rates = ", ".join(f"{rate:g}" for rate in sorted(verdict.rate.unique()))
    tried = "another one was" if (verdict.tuning != ONE_RATE).any() else "no other one was"
    note = f"{sentences(verdict, settings)}\n\nJudged at learning rate {rates}; {tried} tried."
    return Table(rows, note=note, caption=CAPTIONS["verdict"], keys=1 + bool(settings))


def numbers_table(verdict: pd.DataFrame, settings: Sequence[str] = ()) -> Table:
    """The numbers that decide, a row per setting and depth."""
    formats = {"p": "p", "p at every rate": "p", "g": ".1f", "best rate": "g"}
    rows = []
    for _, row in verdict.iterrows():
        cells: dict[str, Cell] = _setting_cells(row, settings) | {
            "depth": int(row.depth),
            "training error, plain - best shallower plain": _interval(row, "from_shallower"),
            "shallower depth": None if np.isnan(row.shallower_depth) else int(row.shallower_depth),
            "plain - residual": _interval(row, "from_twin"),
            "p": row.p,
            "g": row.from_twin_g,
            "plain at its best rate - residual": _interval(row, "best_from_twin"),
            "best rate": row.best_rate,
            "p at every rate": row.tuning_p,
            "pairs": int(row.from_twin_n),
        }
        for twin in NETWORKS:
            for moment, title in zip(MOMENTS, ("first step", "last step"), strict=True):
                name = f"gradient's ratio, {twin}, {title}"
                cells[name] = _interval(row, f"{twin}_ratio_{moment}", "t")
                formats[name] = ".2g"
        rows.append(cells)
    note = (
        "Differences in points, with 95 % logit t intervals. p: one-sided, of both comparisons, "
        "after Holm's correction over the table. g: Hedges', of plain - residual. Gradient: its "
        "norm at the first block's input over that at the last block's output, geometric mean and "
        "t interval of the logarithm."
    )
    keys = 1 + bool(settings)
    return Table(rows, formats, note=note, caption=CAPTIONS["verdict_numbers"], keys=keys)


def ranks_table(ranks: pd.DataFrame, settings: Sequence[str]) -> Table:
    """Each setting at its own best learning rate, best first, a group per depth and network."""
    rows: list[dict[str, Cell]] = []
    for _, row in ranks.iterrows():
        ends = (row.error_low, row.error_high, int(row.seeds), "logit t")
        rows.append(
            {"depth": int(row.depth), "network": row.twin, "rank": int(row["rank"])}
            | _setting_cells(row, settings)
            | {"training error %": Interval(row.error, *ends) if row.error == row.error else "-"}
            | {"best rate": row.best_rate, "rates": int(row.rates), "seeds": int(row.seeds)}
            | {"diverged": int(row.diverged), "surely better than rank": row.better_than or "-"}
            | {"p": row.p}
        )
    note = (
        "Training error at the setting's own best learning rate: the mean over seeds, the rate of "
        "a seed being the best for the other seeds; the interval is of all rates that were "
        "tried, which hold together in 95 % of cases. Surely better: at one of its rates, "
        "corrected for their number, better than the other at each of its rates. p: one-sided, "
        "the smallest of the row, after Holm's correction over all pairs of the table; a claim "
        "takes .01, so that this table and the verdict together have few false ones. Three seeds "
        "tell large differences alone."
    )
    formats = {"best rate": "g", "p": "p"}
    return Table(rows, formats, note=note, caption=CAPTIONS["verdict_settings"], keys=4)


CAPTIONS = {
    "verdict": "Verdict by depth: degradation, the gradient, and whether another learning rate "
    "would help.",
    "verdict_numbers": "The numbers that decide the verdict.",
    "verdict_settings": "Settings ranked by training error, each at its own best learning rate.",
}


def _setting_cells(row: "pd.Series[Any]", settings: Sequence[str]) -> dict[str, Cell]:
    return {"setting": label({name: row[name] for name in settings})} if settings else {}


def sentences(verdict: pd.DataFrame, settings: Sequence[str] = ()) -> str:
    """A Markdown list, one sentence per row; of long verdicts a line per outcome."""
    if len(verdict) > SENTENCES:
        counts = verdict.outcome.value_counts()
        return "\n".join(f"- {word}: {n} of {len(verdict)} rows" for word, n in counts.items())
    lines = []
    for _, row in verdict.iterrows():
        setting = "".join(f"{text}: " for text in _setting_cells(row, settings).values())
        lines.append(f"- {setting}{sentence(row)}")
    return "\n".join(lines)


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
        TOO_FEW: f"no claim: {row.reason}",
    }.get(row.outcome, f"inconclusive: {row.reason}")
    words = [row[f"plain_gradient_{moment}"] for moment in MOMENTS]
    first, last = (GRADIENT_VERBS[word] for word in words)
    then = "" if first == last else f"{last} "
    gradient = f"The plain network's gradient {first} at the first step and {then}at the last"
    if words == [UNKNOWN, UNKNOWN]:
        gradient = "Of its gradient too little was recorded"
    tuned = {
        REMOVES: "another learning rate removes the gap",
        DOES_NOT: "no learning rate of the sweep removes the gap",
        NO_GAP: "there is no gap for another learning rate to remove",
        ONE_RATE: "one learning rate was tried",
    }.get(row.tuning, "whether another learning rate would change this is unknown")
    return f"Depth {row.depth}, {outcome}. {gradient}; {tuned}."


def _interval(row: "pd.Series[Any]", name: str, method: str = "logit t") -> Interval:
    count = int(row.get(f"{name}_n", row.from_twin_n))
    return Interval(row[name], row[f"{name}_low"], row[f"{name}_high"], count, method)


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__, swept=SWEPT)
