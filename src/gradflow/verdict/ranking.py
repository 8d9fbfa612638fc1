"""Which setting of a sweep fits best, each at its own best learning rate?

The error at the best rate is cross-validated: a seed's rate is chosen by the other seeds. That
is honest as a number, but no basis for a test: of equal settings with five rates a t test of such
errors finds one better in 10 to 30 % of simulated studies (benchmarks/verdict.py). The
interval and the claims are therefore of all rates.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from gradflow.statistics import CONFIDENCE, interval_ends, pooled_spread
from gradflow.verdict.arrays import KEYS, TRAIN, by_setting, check_columns, padded, refuse_twice
from gradflow.verdict.outcome import LEVEL, Floats, claimed, compare, holm_over, reference
from gradflow.verdict.tuning import RATE

SHARE = (0.0, 1.0)
RANK_LEVEL = 0.01
"""Of the claims of a table of ranks. With the 5 % of the verdict beside it, at most 6 % of sweeps
without any effect have a false claim."""


def cross_validated(errors: Floats) -> tuple[npt.NDArray[np.intp], Floats]:
    """For each seed the rate with the lowest mean error over the other seeds, and its error.

    A rate at which one of the others diverged is not chosen. One seed chooses for itself.

    Args:
        errors: (..., rate, seed); not finite if a run diverged, or there is none.

    Returns:
        the index of the rate, -1 if there is none to choose, and the error, NaN if that is so or
        the run diverged: (..., seed).
    """
    finite = np.isfinite(errors)
    values = np.where(finite, errors, 0)
    seeds = errors.shape[-1]
    if seeds == 1:
        others, whole = values, finite
    else:
        others = (values.sum(axis=-1, keepdims=True) - values) / (seeds - 1)
        whole = finite.sum(axis=-1, keepdims=True) - finite == seeds - 1
    means = np.where(whole, others, np.inf)
    chosen = means.argmin(axis=-2)
    error = np.take_along_axis(errors, chosen[..., None, :], axis=-2)[..., 0, :]
    there = np.isfinite(means.min(axis=-2))
    return np.where(there, chosen, -1), np.where(there & np.isfinite(error), error, np.nan)


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
    seeds = pd.Index(sorted(runs.seed.unique()), name="seed")
    found = [
        (key, values, part)
        for key, group in runs.groupby(["depth", "twin"])
        for values, part in by_setting(group, settings)
    ]
    tables = [_by_rate(part, seeds) for _, _, part in found]
    errors = padded([table.to_numpy(dtype=float) for table in tables])
    low, high = best_ends(errors)
    rows = []
    for index, ((depth, twin), values, part) in enumerate(found):
        chosen, error = cross_validated(tables[index].dropna(axis=1, how="all").to_numpy())
        picked = chosen[chosen >= 0]
        mean = float(np.nanmean(error)) if np.isfinite(error).any() else np.nan
        rate = tables[index].index[int(np.bincount(picked).argmax())] if len(picked) else np.nan
        rows.append(
            {"depth": depth, "twin": twin, **dict(zip(settings, values, strict=True))}
            | {"best_rate": rate, "error": 100 * mean}
            | {"error_low": 100 * np.fmin(low[index], mean)}
            | {"error_high": 100 * np.fmax(high[index], mean)}
            | {"seeds": part.seed.nunique(), "rates": part[RATE].nunique()}
            | {"diverged": int(np.isinf(tables[index].to_numpy()).sum()), "index": index}
        )
    table = pd.DataFrame(rows).sort_values(["depth", "twin", "error"], kind="stable")
    groups = table.groupby(["depth", "twin"])
    table["rank"] = groups.cumcount() + 1
    depths, twins = (sorted(table[name].unique()) for name in ("depth", "twin"))
    shape = (len(twins), len(depths), int(table["rank"].max()), *errors.shape[1:])
    ranked = np.full(shape, np.nan)
    places = [table.twin.map(twins.index), table.depth.map(depths.index), table["rank"] - 1]
    at = tuple(place.to_numpy() for place in places)
    ranked[at] = errors[table["index"]]
    p = better(ranked)[at]
    table["better_than"] = [", ".join(map(str, np.flatnonzero(row <= RANK_LEVEL) + 1)) for row in p]
    table["p"] = np.fmin.reduce(p, axis=-1)
    front = ["depth", "twin", "rank"]
    rest = [name for name in table.columns if name not in (*front, "index")]
    return table[[*front, *rest]].reset_index(drop=True)


def _by_rate(runs: pd.DataFrame, seeds: pd.Index) -> pd.DataFrame:
    """Training errors by rate and seed: Inf is a diverged run, NaN none."""
    errors = runs[TRAIN].astype(float)
    held = runs.assign(error=errors.where(np.isfinite(errors), np.inf))
    return held.pivot(index=RATE, columns="seed", values="error").reindex(columns=seeds)
