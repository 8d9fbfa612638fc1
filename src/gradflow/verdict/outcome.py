"""Does training error rise with depth, and only without skips? One word per depth.

The rules are functions of arrays of errors, so that thousands of simulated studies go through
the very code that judges a real one (benchmarks/verdict.py).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gradflow.statistics import (
    CLAIM_FROM,
    CONFIDENCE,
    effect_size,
    holm,
    interval_ends,
    p_values,
    pooled_spread,
    simes,
)

Floats = npt.NDArray[np.float64]

LEVEL = 0.05
MARGIN = 0.01  # one point of error: an interval inside of it is "no difference"
POINTS = (-1.0, 1.0)  # the range of a difference of errors
DIVERGED = 1.0  # the error of a network that a claim is measured against, if it diverged

DEGRADATION, OVERFITTING = "degradation", "overfitting"
NO_DIFFERENCE, INCONCLUSIVE, TOO_FEW = "no difference", "inconclusive", "too few seeds"


class Errors(NamedTuple):
    """Final errors, shares 0 ... 1, of plain networks and their twins: (..., depth, seed).

    Depths ascend. NaN if there is no run; Inf if it diverged.
    """

    plain: Floats
    residual: Floats


class Comparison(NamedTuple):
    """How far errors lie above others: arrays (..., depth), NaN if nothing is compared.

    The mean difference and the interval around it, the one-sided p value, Hedges' g, pairs.
    """

    mean: Floats
    low: Floats
    high: Floats
    p: Floats
    g: Floats
    n: Floats

    @property
    def inside(self) -> npt.NDArray[np.bool_]:
        """Whether the whole interval lies within a point of 0; it takes three pairs."""
        within = (self.low >= -MARGIN) & (self.high <= MARGIN)
        return within & (self.n >= CLAIM_FROM)


class Outcome(NamedTuple):
    """The word for each depth (..., depth), and what decided.

    shallowest: no plain network is shallower.
    shallower: the index of the shallower plain network that `from_shallower` is about, the one
    that fits best; its p value speaks for all the shallower ones together.
    p: of both comparisons, after Holm's correction over the whole table.
    """

    word: npt.NDArray[np.str_]
    shallowest: npt.NDArray[np.bool_]
    from_shallower: Comparison
    from_twin: Comparison
    shallower: npt.NDArray[np.intp]
    p: Floats
    test_from_shallower: Comparison
    test_from_twin: Comparison
    test_p: Floats


def judge(train: Errors, test: Errors, axes: int = 1) -> Outcome:
    """The outcome of each depth of a study, or of many at once.

    A diverged run never makes a claim: the deep plain one is left out, its twin's and a
    shallower one's error counts as 100 %; and if one diverged only degradation is named.

    Args:
        axes: how many of the last axes but seeds are one table, whose claims are corrected
            together: 1 for the depths of a study, 2 for settings and depths of a sweep.
    """
    among = table_size(train.plain, axes)
    pooled = tuple(range(-axes, 0))
    from_shallower, shallower = against_shallower(train.plain, among, pooled)
    from_twin = against_twin(train, among)
    p = holm_over(np.maximum(from_shallower.p, from_twin.p), axes)
    test_from_shallower, _ = against_shallower(test.plain, among, pooled)
    test_from_twin = against_twin(test, among)
    test_p = holm_over(np.maximum(test_from_shallower.p, test_from_twin.p), axes)

    there = [np.asarray((~np.isnan(errors)).any(axis=-1)) for errors in train]
    first: npt.NDArray[np.bool_] = np.asarray(np.cumsum(there[0], axis=-1) - there[0] == 0)
    rises = (p <= LEVEL) & ~from_shallower.inside & ~from_twin.inside
    test_rises = (test_p <= LEVEL) & ~test_from_shallower.inside & ~test_from_twin.inside
    fits = (from_shallower.high <= MARGIN) & (from_twin.high <= MARGIN)
    same = from_twin.inside & ((from_shallower.high <= MARGIN) | first)
    diverged = np.isinf(train.plain).any(axis=-1) | np.isinf(train.residual).any(axis=-1)
    few = (from_twin.n < CLAIM_FROM) | ((from_shallower.n < CLAIM_FROM) & ~first)
    word = np.select(
        [~there[0] | ~there[1] | (few & diverged), few, rises, diverged, test_rises & fits, same],
        [INCONCLUSIVE, TOO_FEW, DEGRADATION, INCONCLUSIVE, OVERFITTING, NO_DIFFERENCE],
        INCONCLUSIVE,
    )
    comparisons = (from_shallower, from_twin, shallower, p)
    return Outcome(word, first, *comparisons, test_from_shallower, test_from_twin, test_p)


def table_size(errors: Floats, axes: int) -> int:
    """How many places a table has: errors (..., depth, seed), `axes` as in `judge`."""
    return int(np.prod(errors.shape[-1 - axes : -1]))


def holm_over(p: Floats, axes: int) -> Floats:
    """Holm's correction over the last `axes` axes together."""
    return holm(p.reshape(*p.shape[:-axes], -1)).reshape(p.shape)


def against_twin(errors: Errors, among: int) -> Comparison:
    """Plain minus residual, depth by depth."""
    return compare(claimed(errors.plain) - reference(errors.residual), among)


def against_shallower(
    plain: Floats, among: int, pooled: tuple[int, ...], shallower: Floats | None = None
) -> tuple[Comparison, npt.NDArray[np.intp]]:
    """Each plain network minus the shallower one that fits best, and which that is.

    The best is picked after the fact, which a single test would not survive: the p value is
    Simes' for all shallower ones together. The shallowest has none: NaN. A t test takes at
    least the spread that is pooled over all the shallower ones, and over the settings of a
    table: of many networks that train or fail by chance, one or another has three seeds that
    agree.

    Args:
        plain: (..., depth, seed).
        among: as in `compare`.
        pooled: the last axes but seeds over which the spread is pooled: depths, or settings
            and depths.
        shallower: what they are compared with, if not with `plain` itself.
    """
    others = reference(plain if shallower is None else shallower)
    shape, depths = plain.shape[:-1], plain.shape[-2]
    found = [np.full(shape, np.nan) for _ in Comparison._fields]
    found[-1] = np.zeros(shape)
    which = np.zeros(shape, dtype=np.intp)
    for index in range(1, depths):
        rises = claimed(plain[..., index : index + 1, :]) - others[..., :index, :]
        each = compare(rises, among, least_spread=pooled_spread(rises, axes=pooled))
        # With too few seeds for a claim, the best is still what the numbers are of.
        least = np.minimum(CLAIM_FROM, each.n.max(axis=-1, keepdims=True))
        usable = np.where((each.n >= least) & (each.n > 0), each.mean, -np.inf)
        best = usable.argmax(axis=-1, keepdims=True)
        for target, values in zip(found, each, strict=True):
            target[..., index] = np.take_along_axis(values, best, axis=-1)[..., 0]
        found[3][..., index] = simes(each.p)
        which[..., index] = best[..., 0]
    return Comparison(*found), which


def compare(
    differences: Floats,
    among: int,
    confidence: float = CONFIDENCE,
    least_spread: Floats | float = 0.0,
) -> Comparison:
    """Samples of differences of shares over seeds (..., seed), NaN if there is no pair.

    Args:
        among: the number of claims that the p values will be corrected for.
        least_spread: see `p_values`.
    """
    rows = differences.reshape(-1, differences.shape[-1])
    least = np.broadcast_to(least_spread, differences.shape[:-1]).reshape(-1)
    paired = np.isfinite(rows)
    counts = paired.sum(axis=1)
    found = Comparison(*np.full((len(Comparison._fields), len(rows)), np.nan))
    found.n[:] = counts
    for n in np.unique(counts[counts > 0]):
        same = counts == n
        sample = rows[same][paired[same]].reshape(-1, n)
        found.mean[same] = sample.mean(axis=1)
        found.p[same] = p_values(sample, among, least[same])
        found.g[same] = effect_size(sample)
        if n > 1:
            found.low[same], found.high[same] = interval_ends(sample, confidence, POINTS)
    return Comparison(*(values.reshape(differences.shape[:-1]) for values in found))


def claimed(errors: Floats) -> Floats:
    """Errors that a claim is made of: a diverged run is left out."""
    return np.where(np.isinf(errors), np.nan, errors)


def reference(errors: Floats) -> Floats:
    """Errors that a claim is measured against: a diverged run counts as 100 %."""
    return np.where(np.isinf(errors), DIVERGED, errors)
