"""Is one of two paired samples above the other? One-sided tests, made for few seeds.

A difference is that of two networks of one seed. All functions take many samples of differences
at once, along the last axis.
"""

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, stdtr

Floats = npt.NDArray[np.float64]

CLAIM_FROM = 3  # seeds; fewer say nothing
SIGN_FLIPS_FROM = 8  # seeds; with 3 a sign-flip test cannot go below p = 1/8
LEVEL = 0.05
EXACT_UP_TO = 12  # seeds whose 2^n sign flips are all gone through; else so many are drawn:
FLIPS = 9_999
AT_ONCE = 1024  # samples that are flipped together: bounds the memory


class PairedTest(NamedTuple):
    """p: that the mean is above 0, one-sided; NaN if no claim can be made.
    method: "paired t", "sign flips" or "none"."""

    p: float
    n: int
    method: str


def paired_test(differences: npt.ArrayLike, among: int = 1) -> PairedTest:
    """Whether the mean of differences is above 0, by the test that suits their number.

    Args:
        among: the number of tests that the p value will be corrected for.
    """
    sample = np.asarray(differences, dtype=float)
    return PairedTest(float(p_values(sample, among)), sample.size, method(sample.size, among))


def method(n: int, among: int = 1) -> str:
    """The test for n pairs: a t test from 3, sign flips from 8, else none.

    The smallest p of n sign flips is 2^-n: if that is not significant after the correction
    for `among` tests, it stays the t test.
    """
    if n < CLAIM_FROM:
        return "none"
    return "sign flips" if n >= SIGN_FLIPS_FROM and among / 2.0**n <= LEVEL else "paired t"


def p_values(
    differences: npt.ArrayLike, among: int = 1, least_spread: npt.ArrayLike = 0.0
) -> Floats:
    """One-sided p values of samples of one size: (..., n) in, (...) out.

    Args:
        least_spread: the standard deviation that a t test takes at least, (...): what
            comparable samples show. Three seeds that agree by chance look as if they had none.

    Differences that are all 0 have p = 1; values that are not finite, or fewer than three,
    have p = NaN.
    """
    values = np.asarray(differences, dtype=float)
    kind = method(values.shape[-1], among)
    if kind == "none":
        return np.full(values.shape[:-1], np.nan)
    p = _sign_flips(values) if kind == "sign flips" else student(values, least_spread)
    return np.where(np.isfinite(values).all(axis=-1), p, np.nan)


def student(values: Floats, least_spread: npt.ArrayLike = 0.0) -> Floats:
    """One-sided p values of Student's t test that the mean is above 0: (..., n) in, (...) out.

    Differences that are all the same number above 0 have p = 0."""
    n = values.shape[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.maximum(values.std(axis=-1, ddof=1), least_spread)
        t = values.mean(axis=-1) * np.sqrt(n) / spread
    p: Floats = stdtr(n - 1, -np.nan_to_num(t, nan=-np.inf))
    return p


def _sign_flips(values: Floats) -> Floats:
    """The share of sign flips with a mean as large as the sample's.

    Exact if each difference is as likely as its negative (Fisher 1935, section 21).
    """
    flips, exact = _flips(values.shape[-1])
    rows = values.reshape(-1, values.shape[-1])
    p = np.empty(len(rows))
    for start in range(0, len(rows), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        slack = 1e-12 * np.abs(part).sum(axis=1)  # sums in another order differ in the last bits
        reached = (part @ flips.T >= (part.sum(axis=1) - slack)[:, None]).sum(axis=1)
        p[start : start + AT_ONCE] = reached / len(flips) if exact else (reached + 1) / (FLIPS + 1)
    return p.reshape(values.shape[:-1])


@functools.cache
def _flips(n: int) -> tuple[Floats, bool]:
    """Signs (flips, n), and whether they are all there are."""
    if n <= EXACT_UP_TO:
        bits = np.arange(2**n)[:, None] >> np.arange(n) & 1
        return (1 - 2 * bits).astype(float), True
    return np.random.default_rng(n).choice([-1.0, 1.0], size=(FLIPS, n)), False


def pooled_spread(differences: npt.ArrayLike, axes: tuple[int, ...]) -> Floats:
    """Standard deviation within samples, pooled over samples: (..., n) in, (...) out, with the
    pooled axes kept at size 1. Values that are not finite are left out; 0 if nothing is left.
    """
    values = np.asarray(differences, dtype=float)
    there = np.isfinite(values)
    counts = there.sum(axis=-1)
    mean = np.where(there, values, 0).sum(axis=-1) / np.maximum(counts, 1)
    squares = np.where(there, values - mean[..., None], 0) ** 2
    freedom = np.maximum(counts - 1, 0).sum(axis=axes, keepdims=True)
    pooled: Floats = np.sqrt(
        squares.sum(axis=-1).sum(axis=axes, keepdims=True) / np.maximum(freedom, 1)
    )
    return pooled


def effect_size(differences: npt.ArrayLike) -> Floats:
    """Hedges' g of paired differences: mean / standard deviation, times its small-sample
    correction J(n-1). (..., n) in, (...) out; NaN for fewer than three, and for no spread.

    Hedges, J. Educ. Stat. 6 (1981), equation 6e: J(m) = G(m/2) / (sqrt(m/2) G((m-1)/2)).
    """
    values = np.asarray(differences, dtype=float)
    m = values.shape[-1] - 1
    if m + 1 < CLAIM_FROM:
        return np.full(values.shape[:-1], np.nan)
    correction = np.exp(gammaln(m / 2) - gammaln((m - 1) / 2)) / np.sqrt(m / 2)
    spread = values.std(axis=-1, ddof=1)
    g: Floats = correction * values.mean(axis=-1) / np.where(spread > 0, spread, np.nan)
    return g


def holm(p: npt.ArrayLike) -> Floats:
    """Holm's adjusted p values along the last axis: the chance of one false claim among all of
    them stays below the level that they are compared with. NaN is no test, and stays NaN.

    Holm, Scand. J. Stat. 6 (1979).
    """
    values = np.asarray(p, dtype=float)
    order = np.argsort(values, axis=-1)  # NaN comes last
    ranked = np.take_along_axis(values, order, axis=-1)
    left = np.isfinite(values).sum(axis=-1, keepdims=True) - np.arange(values.shape[-1])
    stepped = np.minimum(np.maximum.accumulate(ranked * np.maximum(left, 1), axis=-1), 1)
    adjusted = np.empty_like(values)
    np.put_along_axis(adjusted, order, stepped, axis=-1)
    return adjusted


def simes(p: npt.ArrayLike) -> Floats:
    """One p value along the last axis for "at least one of these holds": min of k p_(j) / j.

    NaN is no test. Valid for positively dependent tests (Simes, Biometrika 73 (1986); Sarkar,
    Ann. Stat. 26 (1998)), such as one network against several others.
    """
    ranked = np.sort(np.asarray(p, dtype=float), axis=-1)
    k = np.isfinite(ranked).sum(axis=-1, keepdims=True)
    scaled = np.where(np.isnan(ranked), np.inf, ranked * k / np.arange(1, ranked.shape[-1] + 1))
    return np.where(k[..., 0] > 0, scaled.min(axis=-1), np.nan)
