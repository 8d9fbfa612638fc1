"""Expectations over standard normal variables, of functions that are smooth but for a kink at 0.

Gauss-Legendre rules on panels that halve toward the kink, so that a function of s z is resolved
whatever the size s is: tanh(1000 z) turns within a thousandth. Every value is computed by two
rules; if they disagree, the function is not one that these panels resolve, and is refused.
"""

import math
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import numpy.typing as npt

from gradflow.core.errors import GradflowError

Array = npt.NDArray[np.float64]
Function = Callable[[Array], Array]

REACH = 12.0  # standard deviations that are integrated over: beyond lies less than 1e-32
PANEL = 3.0  # the widest panel: a Gaussian is resolved on it
RULES = (24, 16)  # nodes per panel: of the value, and of its check
AGREEMENT = 1e-8  # of the two, relative to the integral of the absolute value
SMALLEST = 1e-150  # a size: its square is still a normal float64


def mean(f: Function, size: float) -> float:
    """E[f(size z)], z standard normal, for a size of at least 0; at 0 the limit from above.

    Raises:
        GradflowError: the mean is not finite, or f is not smooth enough for two rules to agree.
    """
    size = max(size, SMALLEST)  # at 0 itself the slope beside a kink has the value of one side
    found = []
    for nodes in RULES:
        z, weights = _both_sides(*_panels(size, REACH, nodes))
        terms = weights * _density(z) * _values(f, size * z)
        found.append((math.fsum(terms), float(np.abs(terms).sum())))
    return _agreed(found)


def mean_product(f: Function, size: float, c: float) -> float:
    """E[f(u) f(v)], u and v normal, of variance size^2 > 0 and correlation c.

    Raises:
        GradflowError: as `mean`.
    """
    other = math.sqrt((1 - c) * (1 + c))
    if other == 0:
        return mean(lambda u: f(u) * f(c * u), size)
    found = []
    for nodes in RULES:
        # The inner mean, as a function of z, turns within `other` where f has a kink.
        z, weights = _both_sides(*_panels(max(size, 1 / other), REACH, nodes))
        inner = np.array(list(_inner_means(f, size, c, other, z, nodes)))
        terms = weights * _density(z) * _values(f, size * z) * inner
        found.append((math.fsum(terms), float(np.abs(terms).sum())))
    return _agreed(found)


def _inner_means(
    f: Function, size: float, c: float, other: float, places: Array, nodes: int
) -> Iterator[float]:
    """E over w of f(v) at each z, v = size (c z + other w) = size other (w - kink)."""
    scale = size * other
    near, near_weights = _both_sides(*_panels(scale, 2 * REACH, nodes))
    values = _values(f, scale * near)  # around the kink, the same at every z
    far, far_weights = _both_sides(*_panels(0.0, REACH, nodes))
    for z in places:
        kink = -c * z / other
        if abs(kink) <= REACH:
            yield float((near_weights * _density(kink + near)) @ values)
        else:
            yield float((far_weights * _density(far)) @ _values(f, scale * (far - kink)))


def _panels(size: float, end: float, nodes: int) -> tuple[Array, Array]:
    """Nodes and weights on [0, end] for a function of `size` t: panels that halve toward 0.

    The innermost panel is at most 1 / size wide.
    """
    halvings = max(0, math.ceil(math.log2(PANEL * size))) if size > 0 else 0
    return _halved(halvings, end, nodes)


@cache
def _halved(halvings: int, end: float, nodes: int) -> tuple[Array, Array]:
    inner = PANEL * 0.5 ** np.arange(halvings, -1, -1.0)
    edges = np.concatenate([[0.0], inner, np.arange(2 * PANEL, end + PANEL / 2, PANEL)])
    points, weights = np.polynomial.legendre.leggauss(nodes)
    half, middle = np.diff(edges)[:, None] / 2, ((edges[1:] + edges[:-1]) / 2)[:, None]
    return (middle + half * points).ravel(), (half * weights).ravel()


def _both_sides(nodes: Array, weights: Array) -> tuple[Array, Array]:
    return np.concatenate([-nodes, nodes]), np.concatenate([weights, weights])


def _density(z: Array) -> Array:
    found: Array = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return found


def _values(f: Function, x: Array) -> Array:
    with np.errstate(all="ignore"):
        found = np.asarray(f(x))
    if found.shape != x.shape or found.dtype.kind not in "fiu":
        raise GradflowError(
            f"activation: returns {found.dtype} of shape {found.shape} for floats of shape "
            f"{x.shape}; must return one real number for each"
        )
    return found.astype(np.float64)


def _agreed(found: list[tuple[float, float]]) -> float:
    (value, size), (check, _) = found
    if not math.isfinite(size):
        raise GradflowError("activation: its mean is not finite in float64, which ends at 1.8e308")
    if abs(value - check) > AGREEMENT * size:
        raise GradflowError(
            f"activation: two quadratures of its mean differ, {value:.9g} and {check:.9g}; must be "
            "smooth but for a kink at 0, on the scale of its argument or of 1"
        )
    return value
