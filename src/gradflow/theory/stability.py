"""Where a map of variances has its lowest stable fixed point."""

from collections.abc import Callable, Iterator

import numpy as np
from scipy.optimize import brentq, minimize_scalar

from gradflow.core.errors import GradflowError
from gradflow.theory.domain import require

Map = Callable[[float], float]

REACH = 1e15  # fixed points are looked for up to so many times the map's own scale
PER_DECADE = 8  # variances that are looked at; between them, the minima of the growth are found
TIE = 1e-11  # of growth: below it a map keeps what it gets; the quadrature is good to 1e-14
SMALLEST = 1e-290  # a variance: above the numbers that float64 holds to fewer digits
MARGIN = 1e-8  # of 1 minus the slope at a fixed point, below which rounding decides where it is


def lowest_fixed_point(
    variance: Map,
    *,
    slope_at_zero: Callable[[], float],
    floor: float,
    ceiling: float,
    where: str,
) -> float:
    """The lowest q that `variance` maps to itself, with a slope between -1 and 1 there.

    Args:
        slope_at_zero: the map's, used if it maps 0 to 0.
        floor: the map lies above it everywhere, as above the biases' variance.
        ceiling: how far to look.
        where: names the map in messages.

    Raises:
        GradflowError: there is none; or it is too near the edge of stability to be found.
    """

    def growth(q: float) -> float:
        return variance(q) / q - 1

    start = variance(0.0)
    if start == 0:
        if (is_stable := _zero_is_stable(growth, slope_at_zero())) is None:
            raise GradflowError(f"{where}: keeps every small variance; no fixed point draws others")
        if is_stable:
            return 0.0
    low = max(floor, 1e-9 * start) or 1e-16
    require(low >= SMALLEST, "variance of the first layer", start, "0, or at least 1e-280")
    if start and growth(low) <= 0:
        return low  # the map is nothing but its floor
    for left, right in _descents(growth, low, ceiling):
        q = float(brentq(growth, left, right, xtol=1e-15 * left, rtol=1e-14))
        step = 1e-4 * q
        slope = (variance(q + step) - variance(q - step)) / (2 * step)
        if abs(1 - slope) < MARGIN:
            raise GradflowError(
                f"{where}: the slope of the variance map at its fixed point near {q:.4g} is 1 to 8 "
                "digits, so that rounding decides where it is; move away from the edge"
            )
        if slope > -1:
            return q
    raise GradflowError(
        f"{where}: the variance grows without bound; no stable fixed point up to {ceiling:g}"
    )


def _zero_is_stable(growth: Map, slope: float) -> bool | None:
    """Whether variances near 0 are drawn to it; None: they are kept."""
    if abs(slope - 1) > TIE:
        return slope < 1
    beside = growth(1e-4)  # the next order decides
    return None if abs(beside) <= TIE else beside < 0


def _descents(growth: Map, low: float, high: float) -> Iterator[tuple[float, float]]:
    """Each interval at whose left end variances grow, and at whose right end they shrink."""
    count = max(3, round((np.log10(high) - np.log10(low)) * PER_DECADE))
    last: list[tuple[float, float]] = []
    for q in np.geomspace(low, high, count):
        here = (float(q), growth(float(q)))
        if len(last) == 2 and last[0][1] >= last[1][1] <= here[1] and last[1][1] > 0:
            # A dip between two points may reach below 0 and come back.
            found = minimize_scalar(growth, bounds=(last[0][0], here[0]), method="bounded")
            if found.fun < 0:
                yield last[0][0], float(found.x)
        if last and last[-1][1] > 0 >= here[1]:
            yield last[-1][0], here[0]
        last = [*last[-1:], here]
