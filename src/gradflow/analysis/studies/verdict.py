"""Verdict on each depth of a study: outcome, gradient and tuning, in plain words.

python analysis/verdict.py outputs/degradation
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.study import Study
from gradflow.analysis.tables import Cell, Table
from gradflow.config.run_id import TWINS
from gradflow.core.errors import GradflowError
from gradflow.statistics import Interval
from gradflow.verdict import RATE, judge_study
from gradflow.verdict.gradient import EXPLODING, LEVEL, MOMENTS, UNCLEAR, UNKNOWN, VANISHING
from gradflow.verdict.outcome import DEGRADATION, NO_DIFFERENCE, OVERFITTING, TOO_FEW
from gradflow.verdict.tuning import DOES_NOT, NO_GAP, REMOVES

SWEPT = (RATE,)
NETWORKS = tuple(TWINS.values())[::-1]  # plain, residual
GRADIENT_VERBS = {
    VANISHING: "vanishes",
    EXPLODING: "explodes",
    LEVEL: "stays level",
    UNCLEAR: "differs too much from seed to seed to tell",
    UNKNOWN: "is unknown",
}


def analyze(output: Output) -> None:
    """The verdict as a table of words, with a sentence per depth, and a table of numbers."""
    study = output.study
    verdict = judge_study(study.runs, end_blocks(study))
    rates = study.runs[RATE].nunique()
    rate = f"Judged at learning rate {verdict.rate[0]:g}; rates in the study: {rates}."
    words = replace(words_table(verdict), note=f"{sentences(verdict)}\n\n{rate}")
    output.add_table("verdict", words)
    output.add_table("verdict_numbers", numbers_table(verdict))


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


def words_table(verdict: pd.DataFrame) -> Table:
    """The words, a row per depth."""
    rows = []
    for _, row in verdict.iterrows():
        plain, residual = (
            ", ".join(row[f"{twin}_gradient_{moment}"] for moment in MOMENTS) for twin in NETWORKS
        )
        rows.append(
            {
                "depth": int(row.depth),
                "outcome": f"{row.outcome} ({row.reason})" if row.reason else row.outcome,
                "gradient, plain: first step, last": plain,
                "gradient, residual": residual,
                "tuning": row.tuning,
            }
        )
    return Table(rows, {})


def numbers_table(verdict: pd.DataFrame) -> Table:
    """The numbers that decide, a row per depth."""
    formats = {"p": ".3f", "p at every rate": ".3f", "g": ".1f", "best rate": "g"}
    rows = []
    for _, row in verdict.iterrows():
        cells: dict[str, Cell] = {
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
                cells[name] = _interval(row, f"{twin}_ratio_{moment}")
                formats[name] = ".2g"
        rows.append(cells)
    note = (
        "Differences in points, with 95 % logit t intervals. p: one-sided, of "
        "both comparisons, after Holm's correction over depths. g: Hedges', of plain - residual. "
        "Gradient: its norm at the first block's input over that at the last block's output, "
        "geometric mean and interval."
    )
    return Table(rows, formats, note=note)


def sentences(verdict: pd.DataFrame) -> str:
    """A Markdown list, one sentence per depth."""
    return "\n".join(f"- {sentence(row)}" for _, row in verdict.iterrows())


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
    gradient = f"The plain network's gradient {first} at the first step and {last} at the last"
    if words == [UNKNOWN, UNKNOWN]:
        gradient = "Of its gradient too little was recorded"
    tuned = {
        REMOVES: "another learning rate removes the gap",
        DOES_NOT: "no learning rate of the sweep removes the gap",
        NO_GAP: "there is no gap for another learning rate to remove",
    }.get(row.tuning, "whether another learning rate would change this is unknown")
    return f"Depth {row.depth}, {outcome}. {gradient}; {tuned}."


def _interval(row: "pd.Series[Any]", name: str) -> Interval:
    count = int(row.get(f"{name}_n", row.from_twin_n))
    return Interval(row[name], row[f"{name}_low"], row[f"{name}_high"], count)


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__, swept=SWEPT)
