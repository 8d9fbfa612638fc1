"""The verdict on a study: outcome, gradient and tuning of each depth, which are never mixed."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gradflow.core.errors import GradflowError
from gradflow.verdict import tuning
from gradflow.verdict.arrays import (
    KEYS,
    TEST,
    TRAIN,
    by_setting,
    check_columns,
    errors_of,
    padded,
    refuse_twice,
)
from gradflow.verdict.gradient import gradients
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
        `gradients`; tuning, best_rate of the plain network, best_from_twin, _low, _high (it minus
        its twin at the judged rate) and tuning_p (that it is worse at every rate, after Holm's
        correction).

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
    depths = pd.Index(sorted(runs.depth.unique()), name="depth")
    seeds = pd.Index(sorted(runs.seed.unique()), name="seed")
    found = [_judged(part, rate, depths, seeds) for _, part in by_setting(runs, settings)]
    train, test, sweep = (
        Errors(*(padded(twin) for twin in zip(*parts, strict=True)))
        for parts in zip(*(each.errors for each in found), strict=True)
    )
    outcome = judge(train, test, axes=2)
    tuned = tuning.tune(outcome.word, sweep, np.array([each.judged for each in found]), axes=2)
    tables = []
    for index, (values, part) in enumerate(by_setting(runs, settings)):
        each, here = found[index], _row(outcome, index)
        chosen = part[part[RATE] == each.rate]
        table = _outcome_columns(here, _row(train, index), depths)
        table.insert(1, "rate", each.rate)
        table = table.merge(
            gradients(blocks[blocks.run_id.isin(chosen.run_id)], depths), on="depth"
        )
        table = table.assign(**_tuning_columns(_row(tuned, index), each.rates))
        for place, (name, value) in enumerate(zip(settings, values, strict=True)):
            table.insert(place, name, [value] * len(table))
        tables.append(table[table.depth.isin(chosen.depth)])
    return pd.concat(tables, ignore_index=True)


class _Judged(NamedTuple):
    """One setting: its rates, the judged one and its index, and its errors at that rate (train,
    test: depth, seed) and at each (rate, depth, seed)."""

    rates: Floats
    rate: float
    judged: int
    errors: tuple[Errors, Errors, Errors]


def _judged(runs: pd.DataFrame, rate: float | None, depths: pd.Index, seeds: pd.Index) -> _Judged:
    rates = np.sort(runs[RATE].unique())
    rate = tuning.judged_rate(runs[RATE]) if rate is None else rate
    train, test = errors_of(runs[runs[RATE] == rate], depths, seeds)
    each = [errors_of(runs[runs[RATE] == one], depths, seeds)[0] for one in rates]
    sweep = Errors(*(np.stack(twin) for twin in zip(*each, strict=True)))
    return _Judged(rates, rate, int(np.searchsorted(rates, rate)), (train, test, sweep))


def _row(found: Any, index: int) -> Any:
    """One setting of a named tuple of arrays, or of such tuples."""
    return type(found)(
        *(_row(part, index) if isinstance(part, tuple) else part[index] for part in found)
    )


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
    names = ["best_rate", "best_from_twin", "best_from_twin_low", "best_from_twin_high"]
    if len(rates) < 2:
        return {"tuning": found.word, **dict.fromkeys([*names, "tuning_p"], np.nan)}
    numbers = [rates[found.best], *(100 * values for values in found.from_twin[:3])]
    return {"tuning": found.word, **dict(zip(names, numbers, strict=True)), "tuning_p": found.p}
