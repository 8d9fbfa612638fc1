"""Intervals over seeds."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtrit  # scipy.stats would take two seconds to import

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A mean and the interval around it; the ends are NaN for fewer than two values."""

    mean: float
    low: float
    high: float
    n: int


def t_interval(values: npt.ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Student's interval of the mean: mean +- t(n-1) * s / sqrt(n), s with n-1.

    Exact for Gaussian values, and with three seeds still honest where a bootstrap is far
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
    mean, low, high, n = t_interval(np.log(np.asarray(values, dtype=float)), confidence)
    return Interval(float(np.exp(mean)), float(np.exp(low)), float(np.exp(high)), n)


def intervals_by(
    frame: pd.DataFrame, keys: Sequence[str], value: str, *, log: bool = False
) -> pd.DataFrame:
    """One row a group of `keys`: mean, low, high, n of the column `value`.

    With `log` the interval is taken of log10(value) and returned in the value's own unit:
    a geometric mean, for norms and losses that span decades. Values that are not above 0
    have no logarithm and are left out.
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
