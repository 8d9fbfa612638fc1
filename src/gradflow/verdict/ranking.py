"""Which setting of a sweep fits best, each at its own best learning rate?

The error at the best rate is cross-validated: a seed's rate is chosen by the other seeds. That
is honest as a number, but no basis for a test: of equal settings with three rates a t test of such
errors finds one better in 9 to 35 % of simulated sweeps (benchmarks/null_sweeps.py). The
interval and the claims are therefore of all rates.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from gradflow.statistics import CLAIM_FROM, CONFIDENCE, interval_ends, pooled_spread
from gradflow.verdict.arrays import KEYS, TRAIN, check_columns, refuse_twice, sweep_of
from gradflow.verdict.outcome import LEVEL, Errors, Floats, claimed, compare, holm_over, reference
from gradflow.verdict.tuning import RATE

SHARE = (0.0, 1.0)
RANK_LEVEL = 0.01
"""Of the claims of a table of ranks. With the 5 % of the verdict beside it, at most 6 % of sweeps
without any effect have a false claim."""


def cross_validated(errors: Floats) -> tuple[npt.NDArray[np.intp], Floats]:
    """For each seed the rate with the lowest mean error over the other seeds, and its error.

    A rate is not chosen if one of the others diverged at it, or if it was not run with each of
    them and with the seed itself. One seed chooses for itself.

    Args:
        errors: (..., rate, seed); Inf if a run diverged, NaN if there is none.

    Returns:
        the index of the rate, -1 if there is none to choose, and the error, NaN if that is so or
        the run diverged: (..., seed).
    """
    finite = np.isfinite(errors)
    values = np.where(finite, errors, 0)
    there = ~np.isnan(errors)
    run = np.asarray(there.any(axis=-2))[..., None, :]  # seeds with runs
    others = run.sum(axis=-1, keepdims=True) - run
    alone = run.sum(axis=-1, keepdims=True) == 1
    sums = np.where(alone, values, values.sum(axis=-1, keepdims=True) - values)
    whole = np.where(alone, finite, finite.sum(axis=-1, keepdims=True) - finite == others)
    means = np.where(whole & there, sums / np.maximum(others, 1), np.inf)
    chosen = means.argmin(axis=-2)
    error = np.take_along_axis(errors, chosen[..., None, :], axis=-2)[..., 0, :]
    some = np.isfinite(means.min(axis=-2))
    return np.where(some, chosen, -1), np.where(some & np.isfinite(error), error, np.nan)


def best_ends(errors: Floats) -> tuple[Floats, Floats]:
    """An interval for the mean error at the best rate, whichever rate that is.

    From the least low end to the least high end of the rates' intervals, which all hold at once
    (Bonferroni). Rates at which a run diverged, or with fewer than two runs, are left out.

    Args:
        errors: shares (..., rate, seed).

    Returns:
        low and high (...), NaN if no rate is left.
    """
    runs = (~np.isnan(errors)).sum(axis=-1)
    usable = (runs > 1) & ~np.isinf(errors).any(axis=-1)
    tried = np.maximum(usable.sum(axis=-1), 1)
    ends = np.full((2, *usable.shape), np.inf)
    for place in zip(*np.nonzero(usable), strict=True):
        values = errors[place][~np.isnan(errors[place])]
        ends[:, *place] = interval_ends(values, 1 - (1 - CONFIDENCE) / tried[place[:-1]], SHARE)
    low, high = (np.where(usable.any(axis=-1), end.min(axis=-1), np.nan) for end in ends)
    return low, high


def better(errors: Floats) -> Floats:
    """That setting i at its best rate fits better than j at its own: p, after Holm's correction.

    Some rate of i, corrected for their number, has less error than each rate of j: the largest p
    value of j's rates counts, which needs no correction. A rate at which i has a run that
    diverged shows nothing, and such a rate of j is no rival. A t test takes at least the spread
    pooled over all pairs of settings at these two rates, of this depth and the shallower ones
    (of the shallowest: and the next): three seeds that agree by chance prove nothing.

    Args:
        errors: shares (..., twin, depth, setting, rate, seed) of one table or of many; Inf is a
            diverged run, NaN none.

    Returns:
        (..., twin, depth, setting i, setting j); NaN for i = j, if either has a run that
        diverged at every rate, and with fewer than three seeds.
    """
    twins, depths, settings, rates = errors.shape[-5:-1]
    claims = twins * depths * settings * max(settings - 1, 1) * rates
    among = round(claims * LEVEL / RANK_LEVEL)  # as `p_values` takes it: for LEVEL
    if errors.shape[-1] < CLAIM_FROM:
        return np.full((*errors.shape[:-2], settings), np.nan)
    # Other (j) minus own (i): (..., twin, depth, i, j, rate of i, rate of j, seed).
    gap = claimed(errors)[..., None, :, None, :, :] - reference(errors)[..., :, None, :, None, :]
    same = np.eye(settings, dtype=bool)
    gap[..., same, :, :, :] = np.nan
    p = np.full(gap.shape[:-1], np.nan)
    for depth in range(depths):
        so_far = gap[..., : max(depth, 1) + 1, :, :, :, :, :]
        least = pooled_spread(so_far, axes=(-5, -4, -3))[..., 0, :, :, :, :]
        found = compare(gap[..., depth, :, :, :, :, :], among, least_spread=least)
        p[..., depth, :, :, :, :] = np.where(found.inside, 1.0, found.p)
    usable = np.asarray(~np.isnan(errors).all(axis=-1) & ~np.isinf(errors).any(axis=-1))
    rivals = np.where(usable[..., None, :, None, :], np.nan_to_num(p, nan=1.0), 0.0)
    worst = np.where(usable[..., :, None, :], rivals.max(axis=-1), 1.0)
    tried = np.asarray(np.maximum(usable.sum(axis=-1), 1))[..., None]
    trained = np.asarray(usable.any(axis=-1))
    tested = ~np.isnan(p).all(axis=(-2, -1)) & trained[..., :, None] & trained[..., None, :]
    best = np.where(tested, np.minimum(tried * worst.min(axis=-1), 1.0), np.nan)
    return holm_over(best, axes=4)


def rank_settings(runs: pd.DataFrame, settings: Sequence[str]) -> pd.DataFrame:
    """A row per depth, twin and setting, best first.

    Args:
        runs: as of `judge_study`, with the columns of `settings`.

    Returns:
        depth, twin, rank, the columns of `settings`; best_rate: the rate that most seeds choose;
        error: mean cross-validated training error in percent, error_low, error_high: `best_ends`;
        seeds, rates, diverged (runs); better_than: the ranks of the settings of this depth and
        twin that are claimed to have more error (`RANK_LEVEL`), after Holm's correction over the
        table; p: the smallest p value of the row after it. A setting of which every rate diverged
        is last.

    Raises:
        GradflowError: as `judge_study`.
    """
    check_columns(runs, ["run_id", *KEYS, TRAIN, RATE, *settings])
    refuse_twice(runs, settings)
    sweep = sweep_of(runs, settings)
    # (twin, depth, setting, rate, seed)
    errors = np.stack([np.moveaxis(twin, 2, 0) for twin in sweep.train])
    shape = errors.shape[:3]
    chosen, validated = cross_validated(errors)
    finite = np.isfinite(validated)
    counts = np.where(finite.any(axis=-1), finite.sum(axis=-1), np.nan)
    error = np.where(finite, validated, 0).sum(axis=-1) / counts
    low, high = best_ends(errors)
    picked = (chosen[..., None, :] == np.arange(errors.shape[3])[:, None]).sum(axis=-1)
    rate = sweep.rates[np.arange(shape[2]), picked.argmax(axis=-1)]
    ran = ~np.isnan(errors)
    twin, depth, setting = (place.ravel() for place in np.indices(shape))
    columns = {
        "depth": sweep.depths[depth],
        "twin": np.array(Errors._fields)[twin],
        **{name: sweep.settings[name].to_numpy()[setting] for name in settings},
        "best_rate": np.where(picked.any(axis=-1), rate, np.nan).ravel(),
        "error": 100 * error.ravel(),
        "error_low": 100 * np.fmin(low, error).ravel(),
        "error_high": 100 * np.fmax(high, error).ravel(),
        "seeds": ran.any(axis=-2).sum(axis=-1).ravel(),
        "rates": ran.any(axis=-1).sum(axis=-1).ravel(),
        "diverged": np.isinf(errors).sum(axis=(-2, -1)).ravel(),
    }
    table = pd.DataFrame(columns)[ran.any(axis=(-2, -1)).ravel()]
    table = table.sort_values(["depth", "twin", "error"], kind="stable")
    table.insert(2, "rank", table.groupby(["depth", "twin"]).cumcount() + 1)
    ranks = np.zeros(len(twin), dtype=int)
    ranks[table.index] = table["rank"]
    p = better(errors)
    own = p[twin, depth, setting][table.index]
    rivals = ranks.reshape(shape)[twin, depth][table.index]
    table["better_than"] = [
        ", ".join(map(str, sorted(other[row <= RANK_LEVEL])))
        for row, other in zip(own, rivals, strict=True)
    ]
    table["p"] = np.fmin.reduce(own, axis=-1)
    return table.reset_index(drop=True)
