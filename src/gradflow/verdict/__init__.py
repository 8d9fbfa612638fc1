"""The verdict on a study: for each depth outcome, gradient and tuning, which are never mixed."""

from typing import Any

import numpy as np
import pandas as pd

from gradflow.core.errors import GradflowError
from gradflow.verdict import tuning
from gradflow.verdict.gradient import gradients
from gradflow.verdict.outcome import (
    INCONCLUSIVE,
    LEVEL,
    TOO_FEW,
    Comparison,
    Errors,
    Outcome,
    judge,
)
from gradflow.verdict.tuning import RATE

__all__ = ["RATE", "judge_study"]

TRAIN, TEST = "final_train_error", "final_test_error"
KEYS = ["depth", "twin", "seed"]
BLOCKS = ["run_id", *KEYS, "step", "block_index", "input_grad_norm"]


def judge_study(
    runs: pd.DataFrame, blocks: pd.DataFrame | None = None, rate: float | None = None
) -> pd.DataFrame:
    """A row per depth: the words, and the numbers that decided.

    Args:
        runs: run_id, depth, twin ("plain" or "residual"), seed, final_train_error,
            final_test_error (shares; no number if a run diverged), optimizer_learning_rate.
        blocks: run_id, depth, twin, seed, step, block_index, input_grad_norm; None if
            nothing was recorded.
        rate: of a sweep's learning rates the one that is judged; None: see
            `tuning.judged_rate`.

    Returns:
        depth, rate, outcome, reason (of an outcome that claims nothing); plain_error,
        residual_error in percent, plain_diverged, residual_diverged (runs); shallower_depth;
        for from_shallower and from_twin the difference in points, _low, _high, _p (one-sided),
        _g (Hedges), _n (pairs), and the same of the test error as test_from_...; p and test_p
        after Holm's correction over depths; the columns of `gradients`; tuning, best_rate of
        the plain network, best_from_twin, _low, _high (it minus its twin at the judged rate)
        and tuning_p (that it is worse at every rate, after Holm's correction).

    Raises:
        GradflowError: a missing column, no runs, two runs of one depth, twin, seed and rate,
            or a rate that is not there.
    """
    _check(runs, ["run_id", *KEYS, TRAIN, TEST, RATE])
    if (twice := runs.duplicated([*KEYS, RATE], keep=False)).any():
        row = runs[twice].iloc[0]
        raise GradflowError(
            f"{twice.sum()} runs share depth, twin, seed and learning rate, such as {row.depth}, "
            f"{row.twin}, {row.seed}, {row[RATE]:g}: give runs of one setting"
        )
    rate = tuning.judged_rate(runs[RATE]) if rate is None else rate
    here = runs[runs[RATE] == rate]
    if here.empty:
        rates = ", ".join(f"{found:g}" for found in sorted(runs[RATE].unique()))
        raise GradflowError(f"rate={rate:g}: no such run; there are {rates}")
    depths = pd.Index(sorted(here.depth.unique()), name="depth")
    seeds = pd.Index(sorted(runs.seed.unique()), name="seed")
    train, test = _errors(here, depths, seeds)
    outcome = judge(train, test)
    table = _outcome_columns(outcome, train, depths)
    table.insert(1, "rate", rate)
    if blocks is None or blocks.empty:
        blocks = pd.DataFrame({name: [] for name in BLOCKS})
    _check(blocks, BLOCKS, may_be_empty=True)
    found = gradients(blocks[blocks.run_id.isin(here.run_id)], depths)
    return table.merge(found, on="depth").assign(
        **_tuning_columns(runs, outcome, rate, depths, seeds)
    )


def _check(frame: pd.DataFrame, columns: list[str], *, may_be_empty: bool = False) -> None:
    if missing := [name for name in columns if name not in frame.columns]:
        raise GradflowError(f"a verdict needs the columns {', '.join(missing)}")
    if frame.empty and not may_be_empty:
        raise GradflowError("a verdict needs runs; there are none")


def _errors(runs: pd.DataFrame, depths: pd.Index, seeds: pd.Index) -> tuple[Errors, Errors]:
    """Training and test errors as arrays (depth, seed): NaN is no run, Inf a diverged one."""
    diverged = ~np.isfinite(runs[TRAIN].astype(float))
    arrays = []
    for column in (TRAIN, TEST):
        values = runs.assign(error=runs[column].astype(float).mask(diverged, np.inf))
        arrays.append(
            [
                values[values.twin == twin]
                .pivot(index="depth", columns="seed", values="error")
                .reindex(index=depths, columns=seeds)
                .to_numpy(dtype=float)
                for twin in Errors._fields
            ]
        )
    train, test = arrays
    return Errors(*train), Errors(*test)


def _outcome_columns(outcome: Outcome, train: Errors, depths: pd.Index) -> pd.DataFrame:
    table = pd.DataFrame({"depth": depths, "outcome": outcome.word})
    table["reason"] = [_reason(outcome, train, index) for index in range(len(depths))]
    for twin, errors in zip(Errors._fields, train, strict=True):
        table[f"{twin}_error"] = [100 * _mean(row[np.isfinite(row)]) for row in errors]
        table[f"{twin}_diverged"] = np.isinf(errors).sum(axis=-1)
    compared = outcome.from_shallower.n > 0
    table["shallower_depth"] = np.where(compared, depths.to_numpy()[outcome.shallower], np.nan)
    for name in ("from_shallower", "from_twin", "test_from_shallower", "test_from_twin"):
        comparison: Comparison = getattr(outcome, name)
        for entry, values in zip(Comparison._fields, comparison, strict=True):
            points = 100 * values if entry in ("mean", "low", "high") else values
            table[name if entry == "mean" else f"{name}_{entry}"] = points
    return table.assign(p=outcome.p, test_p=outcome.test_p)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else np.nan


def _reason(outcome: Outcome, train: Errors, index: int) -> str:
    """Why nothing is claimed of a depth; empty if something is."""
    plain, residual = (errors[index] for errors in train)
    shallower, twin = (
        Comparison(*(values[index] for values in comparison))
        for comparison in (outcome.from_shallower, outcome.from_twin)
    )
    if outcome.word[index] not in (INCONCLUSIVE, TOO_FEW):
        return ""
    for name, errors in (("plain network", plain), ("residual twin", residual)):
        if np.isnan(errors).all():
            return f"no {name} was run"
    if diverged := int(np.isinf(plain).sum() + np.isinf(residual).sum()):
        return f"{diverged} run{'s'[: diverged > 1]} diverged"
    if outcome.word[index] == TOO_FEW:
        pairs = int(twin.n if index == 0 else min(twin.n, shallower.n))
        return f"{pairs} seed{'s'[: pairs != 1]} in common; a claim takes 3"
    above_twin, above_shallower = twin.p <= LEVEL, shallower.p <= LEVEL
    if index == 0 and above_twin:
        return "above its twin, and nothing shallower to compare with"
    if above_twin and above_shallower:
        return "above both, but not after correction for the number of depths"
    if above_twin:
        return "above its twin, not surely above a shallower plain network"
    if above_shallower:
        return "above a shallower plain network, not surely above its twin"
    return "the differences are too uncertain"


def _tuning_columns(
    runs: pd.DataFrame, outcome: Outcome, rate: float, depths: pd.Index, seeds: pd.Index
) -> dict[str, Any]:
    names = ["best_rate", "best_from_twin", "best_from_twin_low", "best_from_twin_high"]
    rates = np.sort(runs[RATE].unique())
    if len(rates) < 2:
        return {"tuning": tuning.UNKNOWN, **dict.fromkeys([*names, "tuning_p"], np.nan)}
    arrays = [_errors(runs[runs[RATE] == each], depths, seeds)[0] for each in rates]
    sweep = Errors(*(np.stack(twin) for twin in zip(*arrays, strict=True)))
    found = tuning.tune(outcome.word, sweep, int(np.searchsorted(rates, rate)))
    numbers = [rates[found.best], *(100 * values for values in found.from_twin[:3])]
    return {"tuning": found.word, **dict(zip(names, numbers, strict=True)), "tuning_p": found.p}
