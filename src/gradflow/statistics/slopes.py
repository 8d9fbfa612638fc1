"""Does a size grow with a width, or a depth, as it should? Exponents, and tests of them."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gradflow.statistics.paired import holm, student

Floats = npt.NDArray[np.float64]


def log_slopes(values: npt.ArrayLike, at: npt.ArrayLike) -> Floats:
    """The exponent b of values ~ at^b, by least squares of logarithms: (..., k) in, (...) out.

    Args:
        at: the k widths, at least two of them different.

    NaN if a value is not above 0, or not finite.
    """
    x = np.log(np.asarray(at, dtype=float))
    x = x - x.mean()
    sizes = np.asarray(values, dtype=float)
    there = (sizes > 0) & np.isfinite(sizes)
    y = np.log(np.where(there, sizes, np.nan))
    slopes: Floats = (y * x).sum(axis=-1) / np.square(x).sum()
    return slopes


class RangeTest(NamedTuple):
    """Of means and a range: p values, one per mean.

    Attributes:
        outside: of "the mean lies in the range"; a small one says that it does not. Adjusted
            over all means after Holm.
        inside: of "the mean lies outside the range"; a small one says that it lies in it. If
            every one of them is at most 5 %, so is the chance of saying so of all although one
            is outside (intersection-union test, Berger, Technometrics 24 (1982)).
    """

    outside: Floats
    inside: Floats


def range_test(samples: npt.ArrayLike, low: npt.ArrayLike, high: npt.ArrayLike) -> RangeTest:
    """Student's t tests of many means at once: (m, n) samples, (m,) p values.

    Args:
        low, high: ends of each range, (m,) or one number; infinite if it has no such end.

    A sample with a NaN is no test: its p values are NaN.
    """
    values = np.asarray(samples, dtype=float)
    below = _above(np.asarray(low)[..., None] - values)
    above = _above(values - np.asarray(high)[..., None])
    # Two tests of one range, each at half the level.
    outside = holm(np.minimum(2 * np.minimum(below, above), 1))
    return RangeTest(outside, np.maximum(1 - below, 1 - above))


def _above(differences: Floats) -> Floats:
    """p that the mean is above 0; 1 of differences that are -inf, by a range without an end."""
    open_end = np.asarray(np.isneginf(differences).all(axis=-1))
    p = student(np.where(open_end[..., None], -1.0, differences))
    return np.where(np.isnan(differences).any(axis=-1), np.nan, np.where(open_end, 1.0, p))
