"""Intervals over seeds."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import ndtr, ndtri, stdtrit  # scipy.stats would take two seconds to import

CONFIDENCE = 0.95
BOOTSTRAP_FROM = 8  # values; with fewer a bootstrap is far too narrow
RESAMPLES = 2000
AT_ONCE = 1024  # samples that are resampled together: bounds the memory

Floats = npt.NDArray[np.float64]


class Interval(NamedTuple):
    """A mean and the interval around it; the ends are NaN for fewer than two values.

    method: "t" or "BCa bootstrap", for the caption.
    """

    mean: float
    low: float
    high: float
    n: int
    method: str = "t"


def interval(values: npt.ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """The interval that suits the number of values: Student's t below eight, then BCa.

    Values that are not finite make the interval NaN.
    """
    sample = np.asarray(values, dtype=float)
    if sample.size < BOOTSTRAP_FROM:
        return t_interval(sample, confidence)
    low, high = interval_ends(sample, confidence)
    method = interval_method(sample.size)
    return Interval(float(sample.mean()), float(low), float(high), sample.size, method)


def interval_method(n: int) -> str:
    """What `interval` does with n values."""
    return "t" if n < BOOTSTRAP_FROM else "BCa bootstrap"


def interval_ends(samples: npt.ArrayLike, confidence: float = CONFIDENCE) -> tuple[Floats, Floats]:
    """Low and high of `interval` for samples of one size: (..., n) in, (...) out; n above 1."""
    values = np.asarray(samples, dtype=float)
    shape, n = values.shape[:-1], values.shape[-1]
    if n < BOOTSTRAP_FROM:
        mean = values.mean(axis=-1)
        reach = stdtrit(n - 1, (1 + confidence) / 2) * values.std(axis=-1, ddof=1) / np.sqrt(n)
        return mean - reach, mean + reach
    ends = np.full((int(np.prod(shape)), 2), np.nan)
    rows = values.reshape(-1, n)
    whole = np.flatnonzero(np.isfinite(rows).all(axis=1))
    for part in np.split(whole, range(AT_ONCE, len(whole), AT_ONCE)):
        ends[part] = _bca(rows[part], confidence)
    return ends[:, 0].reshape(shape), ends[:, 1].reshape(shape)


def _bca(samples: Floats, confidence: float) -> Floats:
    """Bias-corrected and accelerated bootstrap of means: (m, n) in, (m, 2) out.

    Efron, JASA 82 (1987), equations 2.3 and 6.6. The resamples are the same ones every time.
    """
    mean = samples.mean(axis=1, keepdims=True)
    centered = samples - mean  # of the centered sample, so that its mean is exactly compared with 0
    means = np.sort(centered @ _resamples(samples.shape[1]).T, axis=1)
    tied = np.isclose(means, 0, rtol=0, atol=1e-12 * np.abs(centered).max(axis=1, keepdims=True))
    below = ((means < 0) & ~tied).mean(axis=1) + tied.mean(axis=1) / 2
    bias = ndtri(np.clip(below, 0.5 / RESAMPLES, 1 - 0.5 / RESAMPLES))[:, None]
    square = (centered**2).sum(axis=1)
    acceleration = (centered**3).sum(axis=1) / (6 * np.where(square > 0, square, 1) ** 1.5)
    shifted = bias + ndtri([(1 - confidence) / 2, (1 + confidence) / 2])
    place = ndtr(bias + shifted / (1 - acceleration[:, None] * shifted)) * (RESAMPLES - 1)
    under = np.floor(place).astype(int)
    over = np.minimum(under + 1, RESAMPLES - 1)
    low, high = (np.take_along_axis(means, index, axis=1) for index in (under, over))
    ends: Floats = mean + low + (high - low) * (place - under)
    return ends


@functools.cache
def _resamples(n: int) -> Floats:
    """The share of each of n values in each resample: (RESAMPLES, n)."""
    return np.random.default_rng(n).multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n


def t_interval(values: npt.ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Student's interval of the mean: mean +- t(n-1) * s / sqrt(n), s with n-1.

    Exact for Gaussian values, and with three seeds still honest when a bootstrap is far
    too narrow. Values that are not finite make the interval NaN.
    """
    sample = np.asarray(values, dtype=float)
    n = sample.size
    if n == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    mean = float(sample.mean())
    if n == 1:
        return Interval(mean, np.nan, np.nan, 1)
    reach = float(stdtrit(n - 1, (1 + confidence) / 2) * sample.std(ddof=1) / np.sqrt(n))
    return Interval(mean, mean - reach, mean + reach, n)


def geometric_interval(values: npt.ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """`t_interval` of the logarithms, in the values' own unit: for norms that span decades."""
    found = t_interval(np.log(np.asarray(values, dtype=float)), confidence)
    mean, low, high = np.exp([found.mean, found.low, found.high])
    return Interval(float(mean), float(low), float(high), found.n)


def intervals_by(
    frame: pd.DataFrame, keys: Sequence[str], value: str, *, log: bool = False
) -> pd.DataFrame:
    """One row per group of `keys`: mean, low, high, n of the column `value`.

    Student's at any number of seeds, as figures have thousands of groups; tables and verdicts
    take `interval`. With `log` it is of log10(value) and returned in the value's own unit: a
    geometric mean, for norms and losses that span decades. Values that are not above 0 have
    no logarithm and are left out.
    """
    if log:
        frame = frame[frame[value] > 0]
        frame = frame.assign(**{value: np.log10(frame[value].astype(float))})
    grouped = frame.groupby(list(keys), observed=True)[value]
    # Whole columns at once: a profile of deep networks has thousands of groups.
    table = grouped.agg(mean="mean", spread="std", n="count").reset_index()
    reach = stdtrit((table.n - 1).clip(lower=1), (1 + CONFIDENCE) / 2) * table.spread
    reach /= np.sqrt(table.n)
    table["low"], table["high"] = table["mean"] - reach, table["mean"] + reach
    if log:
        ends = ["mean", "low", "high"]
        table[ends] = 10.0 ** table[ends]
    return table.drop(columns="spread")
