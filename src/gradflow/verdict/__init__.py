"""The verdict on a study: outcome, gradient and tuning of each depth, which are never mixed."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gradflow.core.errors import GradflowError
from gradflow.verdict import tuning
from gradflow.verdict.arrays import KEYS, TEST, TRAIN, check_columns, refuse_twice, sweep_of
from gradflow.verdict.gradient import with_gradients
from gradflow.verdict.outcome import (
    INCONCLUSIVE,
    LEVEL,
    TOO_FEW,
    Comparison,
    Errors,
    Floats,
    Outcome,
    judge,
)
from gradflow.verdict.tuning import RATE

__all__ = ["RATE", "judge_study"]

BLOCKS = ["run_id", *KEYS, "step", "block_index", "input_grad_norm"]


def judge_study(
    runs: pd.DataFrame,
    blocks: pd.DataFrame | None = None,
    rate: float | None = None,
    settings: Sequence[str] = (),
) -> pd.DataFrame:
    """A row per setting and depth: the words, and the numbers that decided.

    Args:
        runs: run_id, depth, twin ("plain" or "residual"), seed, final_train_error,
            final_test_error (shares; no number if a run diverged), optimizer_learning_rate, and
            the columns of `settings`.
        blocks: run_id, depth, twin, seed, step, block_index, input_grad_norm; None if
            nothing was recorded.
        rate: of a sweep's learning rates the one that is judged; None: see
            `tuning.judged_rate`, for each setting.
        settings: the columns whose combinations are judged one by one, such as ["norm"]. All
            claims of the table are corrected together.

    Returns:
        the columns of `settings`; depth, rate, outcome, reason (of an outcome that claims
        nothing); plain_error, residual_error in percent, plain_diverged, residual_diverged
        (runs); shallower_depth; for from_shallower and from_twin the difference in points, _low,
        _high, _p (one-sided), _g (Hedges), _n (pairs), and the same of the test error as
        test_from_...; p and test_p after Holm's correction over the table; the columns of
        `with_gradients`; tuning, best_rate of the plain network, best_from_twin, _low, _high (it
        minus its twin at the judged rate) and tuning_p (that it is worse at every rate, after
        Holm's correction).

    Raises:
        GradflowError: a missing column, no runs, two runs of one setting, depth, twin, seed and
            rate, or a rate that is not there.
    """
    check_columns(runs, ["run_id", *KEYS, TRAIN, TEST, RATE, *settings])
    refuse_twice(runs, settings)
    if rate is not None and not (runs[RATE] == rate).any():
        rates = ", ".join(f"{found:g}" for found in sorted(runs[RATE].unique()))
        raise GradflowError(f"rate={rate:g}: no such run; there are {rates}")
    if blocks is None or blocks.empty:
        blocks = pd.DataFrame({name: [] for name in BLOCKS})
    check_columns(blocks, BLOCKS, may_be_empty=True)
    if rate is not None:
        having = runs[RATE].where(runs[RATE] == rate)
        keys = [runs[name].astype(str) for name in settings] or [pd.Series(0, runs.index)]
        runs = runs[having.groupby(keys).transform("count") > 0]
    sweep = sweep_of(runs, settings)
    chosen = runs.groupby(sweep.setting)[RATE].agg(tuning.judged_rate if rate is None else "first")
    if rate is not None:
        chosen[:] = rate
    judged = (sweep.rates == chosen.to_numpy()[:, None]).argmax(axis=1)
    train, test = (
        Errors(*(array[np.arange(len(judged)), judged] for array in errors))
        for errors in (sweep.train, sweep.test)
    )
    outcome = judge(train, test, axes=2)
    tuned = tuning.tune(outcome.word, sweep.train, judged, axes=2)
    shape = outcome.word.shape
    table = _outcome_columns(outcome, train, np.broadcast_to(sweep.depths, shape))
    table.insert(1, "rate", np.repeat(chosen.to_numpy(), shape[1]))
    table = table.assign(**_tuning_columns(tuned, sweep.rates))
    table["setting"] = np.repeat(np.arange(shape[0]), shape[1])
    here = runs.assign(setting=sweep.setting)[runs[RATE] == sweep.setting.map(chosen)]
    measured = blocks.merge(here[["run_id", "setting"]], on="run_id")
    table = with_gradients(table, measured)
    for place, name in enumerate(settings):
        table.insert(place, name, sweep.settings[name].to_numpy()[table.setting])
    there = ~np.isnan(np.concatenate(train, axis=-1)).all(axis=-1).ravel()
    return table[there].drop(columns="setting").reset_index(drop=True)


def _outcome_columns(outcome: Outcome, train: Errors, depths: npt.NDArray[np.int_]) -> pd.DataFrame:
    """All of (setting, depth), a row per place."""
    table = pd.DataFrame({"depth": depths.ravel(), "outcome": outcome.word.ravel()})
    table["reason"] = [_reason(outcome, train, place) for place in np.ndindex(depths.shape)]
    for twin, errors in zip(Errors._fields, train, strict=True):
        rows = errors.reshape(-1, errors.shape[-1])
        table[f"{twin}_error"] = [100 * _mean(row[np.isfinite(row)]) for row in rows]
        table[f"{twin}_diverged"] = np.isinf(rows).sum(axis=-1)
    compared = outcome.from_shallower.n > 0
    shallower = np.take_along_axis(depths, outcome.shallower, axis=-1)
    table["shallower_depth"] = np.where(compared, shallower, np.nan).ravel()
    for name in ("from_shallower", "from_twin", "test_from_shallower", "test_from_twin"):
        comparison: Comparison = getattr(outcome, name)
        for entry, values in zip(Comparison._fields, comparison, strict=True):
            points = 100 * values if entry in ("mean", "low", "high") else values
            table[name if entry == "mean" else f"{name}_{entry}"] = points.ravel()
    return table.assign(p=outcome.p.ravel(), test_p=outcome.test_p.ravel())


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else np.nan


def _reason(outcome: Outcome, train: Errors, index: tuple[int, ...]) -> str:
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
        pairs = int(twin.n if outcome.shallowest[index] else min(twin.n, shallower.n))
        return f"{pairs} seed{'s'[: pairs != 1]} in common; a claim takes 3"
    above_twin, above_shallower = twin.p <= LEVEL, shallower.p <= LEVEL
    if outcome.shallowest[index] and above_twin:
        return "above its twin, and nothing shallower to compare with"
    if above_twin and above_shallower:
        return "above both, but not after correction for the number of claims"
    if above_twin:
        return "above its twin, not surely above a shallower plain network"
    if above_shallower:
        return "above a shallower plain network, not surely above its twin"
    return "the differences are too uncertain"


def _tuning_columns(found: tuning.Tuning, rates: Floats) -> dict[str, Any]:
    """All of (setting, depth), a row per place; numbers of settings with several rates."""
    several = np.broadcast_to((~np.isnan(rates)).sum(axis=1)[:, None] > 1, found.word.shape)
    names = ["best_rate", "best_from_twin", "best_from_twin_low", "best_from_twin_high", "tuning_p"]
    best = np.take_along_axis(rates, found.best, axis=1)
    numbers = [best, *(100 * values for values in found.from_twin[:3]), found.p]
    columns = {
        name: np.where(several, values, np.nan).ravel()
        for name, values in zip(names, numbers, strict=True)
    }
    return {"tuning": found.word.ravel(), **columns}
