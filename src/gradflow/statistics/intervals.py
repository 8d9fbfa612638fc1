"""Intervals over seeds.

Student's t at every number of seeds, and for shares and percentages its logit form:
`python -m benchmarks.intervals` prints how often they and three bootstraps hold the true mean.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import expit, stdtrit  # scipy.stats would take two seconds to import

CONFIDENCE = 0.95

Floats = npt.NDArray[np.float64]
Range = tuple[float, float]

PERCENT: Range = (0.0, 100.0)
POINTS: Range = (-100.0, 100.0)  # of a difference of two percentages


class Interval(NamedTuple):
    """A mean and the interval around it; the ends are NaN for fewer than two values.

    method: "t", or "logit t" if the values have a range, for the caption.
    """

    mean: float
    low: float
    high: float
    n: int
    method: str = "t"


def interval(
    values: npt.ArrayLike, confidence: float = CONFIDENCE, within: Range | None = None
) -> Interval:
    """The interval of the mean: Student's t, which does not leave the range of the values.

    Args:
        within: the least and the largest value that there can be, such as `PERCENT`. If a value
            is outside, as a relative squared error above 100 % is, there is no such range.

    Values that are not finite make the interval NaN.
    """
    found = t_interval(values, confidence)
    sample = np.asarray(values, dtype=float).ravel()
    if within is None or found.n < 2 or _leaves(sample, within):
        return found
    low, high = interval_ends(sample, confidence, within)
    return Interval(found.mean, float(low), float(high), found.n, "logit t")


def interval_ends(
    samples: npt.ArrayLike, confidence: float = CONFIDENCE, within: Range | None = None
) -> tuple[Floats, Floats]:
    """Low and high of `interval` for samples of one size: (..., n) in, (...) out; n above 1.

    With a range, the mean as a share m of it is taken to its logit, where its standard error is
    e / (m (1 - m)), e being that of m (the delta method; Korn and Graubard, Survey Methodology
    24 (1998), section 3). A sample without spread, or at an end of the range, has no width. Of a
    sample that leaves the range, the ends are those without one.
    """
    values = np.asarray(samples, dtype=float)
    n = values.shape[-1]
    mean = values.mean(axis=-1)
    reach = stdtrit(n - 1, (1 + confidence) / 2) * values.std(axis=-1, ddof=1) / np.sqrt(n)
    if within is None:
        return mean - reach, mean + reach
    least, most = within
    leaves, free = _leaves(values, within), (mean - reach, mean + reach)
    share = np.where(leaves, 0.5, (mean - least) / (most - least))
    reach = reach / (most - least)
    room = share * (1 - share)
    inside = (reach > 0) & (room > 0)
    shift = np.divide(reach, room, out=np.zeros_like(share), where=inside)
    with np.errstate(divide="ignore"):
        place = np.log(share) - np.log1p(-share)
    low, high = (
        np.where(inside | np.isnan(share), least + (most - least) * expit(end), mean)
        for end in (place - shift, place + shift)
    )
    return np.where(leaves, free[0], low), np.where(leaves, free[1], high)


def _leaves(samples: Floats, within: Range) -> npt.NDArray[np.bool_]:
    """Whether each sample (..., n) has a finite value outside of the range."""
    outside = ((samples < within[0]) | (samples > within[1])) & np.isfinite(samples)
    return np.asarray(outside.any(axis=-1))


def t_interval(values: npt.ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Student's interval of the mean: mean +- t(n-1) * s / sqrt(n), s with n-1.

    Exact for Gaussian values. Values that are not finite make the interval NaN.
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

    `t_interval`, of whole columns at once. With `log` it is of log10(value) and returned in the
    value's own unit: a geometric mean, for norms and losses that span decades. Values that are
    not above 0 have no logarithm and are left out.
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
