"""What does a study say of each depth? Outcome, gradient and tuning, never mixed; in plain words.

python analysis/verdict.py outputs/degradation
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.degradation import one_decimal
from analysis.study import Study, run_script
from gradflow.errors import GradflowError
from gradflow.statistics import interval_method
from gradflow.verdict import RATE, judge_study
from gradflow.verdict.gradient import EXPLODING, MOMENTS, NEITHER, UNCLEAR, UNKNOWN, VANISHING
from gradflow.verdict.outcome import DEGRADATION, NO_DIFFERENCE, OVERFITTING, TOO_FEW
from gradflow.verdict.tuning import DOES_NOT, NO_GAP, REMOVES

TWINS = ("plain", "residual")
GRADIENT_VERBS = {
    VANISHING: "vanishes",
    EXPLODING: "explodes",
    NEITHER: "neither vanishes nor explodes",
    UNCLEAR: "differs too much from seed to seed to tell",
    UNKNOWN: "is unknown",
}


def analyse(study: Study, formats: Sequence[str]) -> list[Path]:
    """The verdict as a table and a sentence a depth; prints both."""
    verdict = judge_study(study.runs, end_blocks(study))
    rates = study.runs[RATE].nunique()
    rate = f"Judged at learning rate {verdict.rate[0]:g}; rates in the study: {rates}."
    parts = [words_table(verdict), sentences(verdict), rate, numbers_table(verdict)]
    text = "\n\n".join(parts)
    print(text)
    return [study.save_table("verdict", text)]


def end_blocks(study: Study) -> pd.DataFrame | None:
    """Each run's blocks records of its first and last measured step; None where there are none."""
    names = ["step", "block_index", "input_grad_norm"]
    try:
        first = study.records("blocks", ["step"], block_index=0)
    except GradflowError:  # a study without probes has its outcome all the same
        return None
    ends = first.groupby("run_id").step.agg(["min", "max"]).stack().unique()
    return study.records("blocks", names, step=[int(step) for step in ends])


def words_table(verdict: pd.DataFrame) -> str:
    """A Markdown table of the words, a row a depth."""
    lines = [
        "| depth | outcome | gradient, plain: first step, last | gradient, residual | tuning |",
        "| ---: | --- | --- | --- | --- |",
    ]
    for _, row in verdict.iterrows():
        gradients = (
            ", ".join(row[f"{twin}_gradient_{moment}"] for moment in MOMENTS) for twin in TWINS
        )
        outcome = f"{row.outcome} ({row.reason})" if row.reason else row.outcome
        lines.append(f"| {row.depth} | {outcome} | {' | '.join(gradients)} | {row.tuning} |")
    return "\n".join(lines)


def numbers_table(verdict: pd.DataFrame) -> str:
    """A Markdown table of the numbers that decide, a row a depth."""
    methods = sorted({interval_method(int(n)) for n in verdict.from_twin_n if n > 1}) or ["t"]
    lines = [
        "| depth | training error, plain - best shallower plain | plain - residual | p | g "
        "| plain at its best rate - residual | p at every rate | pairs "
        "| gradient, plain: first step | last step | residual: first step | last step |",
        "| ---: | --- | --- | ---: | ---: | --- | ---: | ---: | --- | --- | --- | --- |",
    ]
    for _, row in verdict.iterrows():
        cells = [
            f"{row.depth}",
            _difference(row, "from_shallower") + _bracket(row.shallower_depth),
            _difference(row, "from_twin"),
            _p_value(row.p),
            one_decimal(row.from_twin_g),
            _difference(row, "best_from_twin") + _bracket(row.best_rate),
            _p_value(row.tuning_p),
            f"{row.from_twin_n:.0f}",
            *(_interval(row, f"{twin}_ratio_{at}", _ratio) for twin in TWINS for at in MOMENTS),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    notes = (
        f"Differences in points, with 95 % {' and '.join(methods)} intervals; in brackets the "
        "shallower depth, or the rate. p: one-sided, of both comparisons, after Holm's "
        "correction over depths. g: Hedges', of plain - residual. Gradient: its norm at the first "
        "block's input over that at the last block's output, geometric mean and interval."
    )
    return "\n".join([*lines, "", notes])


def sentences(verdict: pd.DataFrame) -> str:
    """A Markdown list, one sentence a depth."""
    return "\n".join(f"- {sentence(row)}" for _, row in verdict.iterrows())


def sentence(row: pd.Series) -> str:
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


def _difference(row: pd.Series, name: str) -> str:
    return _interval(row, name, one_decimal)


def _interval(row: pd.Series, name: str, form: Callable[[float], str]) -> str:
    mean, low, high = (form(row[name + end]) for end in ("", "_low", "_high"))
    return mean if mean == "-" else f"{mean} ({low} ... {high})"


def _bracket(value: float) -> str:
    return "" if np.isnan(value) else f" [{value:g}]"


def _p_value(p: float) -> str:
    if np.isnan(p):
        return "-"
    return "<.001" if p < 0.001 else f"{p:.3f}".lstrip("0")


def _ratio(value: float) -> str:
    """Two digits: 0.26, 95, 120, 2.7e3."""
    if np.isnan(value):
        return "-"
    if 0.01 <= value < 1000:
        return f"{value:.1f}" if 1 <= value < 10 else f"{float(f'{value:.2g}'):g}"
    digits, power = f"{value:.1e}".split("e")
    return f"{digits}e{int(power)}"


if __name__ == "__main__":
    run_script(analyse, __doc__, swept=(RATE,))
