"""A claim: what is published or derived, how it is tested, and how near is near enough."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from gradflow.config.acceptance import AcceptanceConfig
from gradflow.statistics import CONFIDENCE, Interval, geometric_interval, t_interval


class NotRun(Exception):  # noqa: N818
    """A claim cannot be tested here, and why: it then counts neither way."""


class Band(NamedTuple):
    """What is expected, and the values from `low` to `high` that agree with it."""

    expected: float
    low: float
    high: float
    tolerance: str

    def holds(self, measured: Interval) -> bool:
        """Whether all of the interval is in the band; of a single value, whether that is."""
        single = math.isnan(measured.low) and measured.n <= 1
        ends = (measured.mean,) if single else (measured.low, measured.mean, measured.high)
        return all(self.low <= end <= self.high for end in ends)  # NaN is in no band

    def excludes(self, measured: Interval) -> bool:
        """Whether none of the interval is in the band; of a single value, whether it is not."""
        if math.isnan(measured.low) or math.isnan(measured.high):
            return not self.holds(measured)
        return measured.high < self.low or measured.low > self.high


def within_share(expected: float, share: float) -> Band:
    """The values within a share of the expected one: 0.1 is 10 %."""
    reach = abs(expected) * share
    return Band(expected, expected - reach, expected + reach, f"± {100 * share:g} %")


def within(expected: float, distance: float) -> Band:
    """The values within a distance of the expected one."""
    return Band(expected, expected - distance, expected + distance, f"± {distance:g}")


def within_factor(expected: float, factor: float) -> Band:
    """The values from the expected one divided by a factor to it times that factor."""
    return Band(expected, expected / factor, expected * factor, f"factor {factor:g}")


def at_most(bound: float) -> Band:
    """The values up to a bound."""
    return Band(bound, -math.inf, bound, "or less")


def at_least(bound: float) -> Band:
    """The values from a bound on."""
    return Band(bound, bound, math.inf, "or more")


class Sample(NamedTuple):
    """What was measured: a value per seed, and whether their logarithms are averaged."""

    values: npt.NDArray[np.float64]
    logarithmic: bool

    def interval(self, confidence: float = CONFIDENCE) -> Interval:
        """The (geometric) mean with Student's interval."""
        with np.errstate(over="ignore"):  # an end beyond what a number can be is Inf
            return (geometric_interval if self.logarithmic else t_interval)(self.values, confidence)


def linear(values: npt.ArrayLike) -> Sample:
    """Values, or a single one, whose mean is claimed."""
    return Sample(np.asarray(values, dtype=float), logarithmic=False)


def logarithmic(values: npt.ArrayLike) -> Sample:
    """Positive values whose geometric mean is claimed: norms that span decades."""
    return Sample(np.asarray(values, dtype=float), logarithmic=True)


class Basis(StrEnum):
    """What a claim rests on; the table counts each apart.

    A bound that was fixed after a look at what it bounds agrees with it more easily.
    """

    PUBLISHED = "published, blind"
    FITTED = "published, after a look"
    OWN = "derived or Monte Carlo here"
    IDENTITY = "identity"


@dataclass(frozen=True)
class Claim:
    """One row of the table.

    Attributes:
        name: the claim, in words, with the quantity that is expected to have a value.
        source: the paper, or `derived` if nothing is published.
        how: which networks, from how many seeds, and what of their records is taken.
        band: the value expected, and the tolerance.
        reason: why the tolerance is what it is, whatever was measured.
        measure: a value per seed.
        basis: whether it is published, and whether its bound was fixed before the first look.
        fails_because: of a claim that fails with the bound it had before the first look, why. It
            stays in the table as a failure; the command's exit status does not count it.
    """

    name: str
    source: str
    how: str
    band: Band
    reason: str
    measure: Callable[[AcceptanceConfig], Sample]
    basis: Basis
    fails_because: str = ""
