"""Verdict on each setting and depth of a study: outcome, gradient and tuning, in plain words.

gradflow verdict outputs/degradation
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.studies.verdict_words import (
    brief,
    interval_of,
    judged_at,
    outcome_of,
    sentences,
    setting_cells,
)
from gradflow.analysis.study import Study
from gradflow.analysis.swept import EVERY_KEY, swept_keys
from gradflow.analysis.tables import Cell, Table
from gradflow.config.run_id import TWINS
from gradflow.core.errors import GradflowError
from gradflow.statistics import Interval
from gradflow.verdict import RATE, judge_study
from gradflow.verdict.gradient import MOMENTS
from gradflow.verdict.ranking import rank_settings

SWEPT = EVERY_KEY
NETWORKS = tuple(TWINS.values())[::-1]  # plain, residual


def analyze(output: Output) -> None:
    """The verdict as a table of words, with a sentence per row, and a table of numbers; and of a
    sweep of other keys the rank of each setting at its own best learning rate. What is printed is
    the answer in few columns; the files have them all."""
    study = output.study
    settings = [name for name in swept_keys(study.runs) if name != RATE]
    verdict = judge_study(study.runs, end_blocks(study), settings=settings)
    output.add_table("verdict", words_table(verdict, settings), printed=False)
    output.add_table("verdict_numbers", numbers_table(verdict, settings), printed=False)
    if settings:
        ranks = rank_settings(study.runs, settings)
        output.add_table("verdict_settings", ranks_table(ranks, settings), printed=False)
    print(brief(verdict, settings))


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
            setting_cells(row, settings)
            | {
                "depth": int(row.depth),
                "outcome": outcome_of(row),
                "gradient, plain: first step, last": plain,
                "gradient, residual": residual,
                "tuning": row.tuning,
            }
        )
    note = f"{sentences(verdict, settings)}\n\n{judged_at(verdict)}"
    return Table(rows, note=note, caption=CAPTIONS["verdict"], keys=1 + bool(settings))


def numbers_table(verdict: pd.DataFrame, settings: Sequence[str] = ()) -> Table:
    """The numbers that decide, a row per setting and depth."""
    formats = {"p": "p", "p at every rate": "p", "g": ".1f", "best rate": "g"}
    rows = []
    for _, row in verdict.iterrows():
        cells: dict[str, Cell] = setting_cells(row, settings) | {
            "depth": int(row.depth),
            "training error, plain - best shallower plain": interval_of(row, "from_shallower"),
            "shallower depth": None if np.isnan(row.shallower_depth) else int(row.shallower_depth),
            "plain - residual": interval_of(row, "from_twin"),
            "p": row.p,
            "g": row.from_twin_g,
            "plain at its best rate - residual": interval_of(row, "best_from_twin"),
            "best rate": row.best_rate,
            "p at every rate": row.tuning_p,
            "pairs": int(row.from_twin_n),
        }
        for twin in NETWORKS:
            for moment, title in zip(MOMENTS, ("first step", "last step"), strict=True):
                name = f"gradient's ratio, {twin}, {title}"
                cells[name] = interval_of(row, f"{twin}_ratio_{moment}", "t")
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
            | setting_cells(row, settings)
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


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__, swept=SWEPT)
