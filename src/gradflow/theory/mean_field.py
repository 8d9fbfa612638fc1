"""Mean-field maps of wide random networks: how variances and correlations change in a layer.

A layer is h = W phi(x) + b with independent weights of variance weight_variance / fan-in
and biases of variance bias_variance. In the limit of infinite width pre-activations are
Gaussian, and a layer maps their variance q, the correlation c of two inputs' pre-activations
and the squared gradient by the functions here (Poole et al. 2016; Schoenholz et al. 2017).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import erf

from gradflow.core.errors import GradflowError
from gradflow.theory.domain import require

Array = npt.NDArray[np.float64]
Function = Callable[[Array], Array]

REACH = 12.0  # standard deviations that are integrated over: beyond lies less than 1e-32
NODES = 120  # on either side of 0, where activations may have a kink


class Activation(NamedTuple):
    """A function of one variable and its derivative; both smooth but for a kink at 0."""

    function: Function
    derivative: Function


def _gelu_slope(x: Array) -> Array:
    density = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    slope: Array = 0.5 * (1 + erf(x / np.sqrt(2))) + x * density
    return slope


def _sigmoid(x: Array) -> Array:
    return 0.5 * (1 + np.tanh(x / 2))


ACTIVATIONS = {
    "relu": Activation(lambda x: np.maximum(x, 0), lambda x: (x > 0).astype(float)),
    "leaky_relu": Activation(
        lambda x: np.where(x > 0, x, 0.01 * x), lambda x: np.where(x > 0, 1.0, 0.01)
    ),
    "tanh": Activation(np.tanh, lambda x: 1 - np.tanh(x) ** 2),
    "gelu": Activation(lambda x: x * 0.5 * (1 + erf(x / np.sqrt(2))), _gelu_slope),
    "silu": Activation(
        lambda x: x * _sigmoid(x), lambda x: _sigmoid(x) * (1 + x * (1 - _sigmoid(x)))
    ),
    "identity": Activation(lambda x: x, np.ones_like),
}
"""The activations of the networks by name; any other is an `Activation` of its own."""


def variance_map(
    q: float, activation: str | Activation, weight_variance: float, bias_variance: float = 0.0
) -> float:
    """q -> weight_variance E[phi(sqrt(q) z)^2] + bias_variance, z standard normal.

    The variance of a layer's pre-activations, from that of the layer before (Poole et al.
    2016).

    Raises:
        GradflowError: a negative q or variance, an unknown activation.
    """
    _check(q, weight_variance, bias_variance)
    phi = _named(activation).function
    return weight_variance * _mean(lambda z: phi(np.sqrt(q) * z) ** 2) + bias_variance


def fixed_point(
    activation: str | Activation, weight_variance: float, bias_variance: float = 0.0
) -> float:
    """The variance q* that a layer maps to itself and that others are drawn to.

    Domain: an activation for which the map has a stable fixed point, such as tanh. Where
    the variance grows without bound (ReLU with weight_variance > 2) or is kept as it is
    whatever it is (ReLU with 2), there is none.

    Raises:
        GradflowError: there is no stable fixed point below 1e6; or as `variance_map`.
    """

    def change(q: float) -> float:
        return variance_map(q, activation, weight_variance, bias_variance) - q

    if bias_variance == 0 and change(1e-9) <= 0:
        if change(1e-9) / 1e-9 > -1e-6:
            raise GradflowError(
                f"weight_variance={weight_variance}: keeps every small variance; no fixed point"
            )
        return 0.0
    high = 1.0
    while change(high) > 0:
        high *= 2
        if high > 1e6:
            raise GradflowError(
                f"weight_variance={weight_variance}: the variance grows without bound"
            )
    return float(brentq(change, 1e-9, high, xtol=1e-14, rtol=1e-13))


def gradient_factor(q: float, activation: str | Activation, weight_variance: float) -> float:
    """chi_1 = weight_variance E[phi'(sqrt(q) z)^2]: the squared gradient's factor, a layer back.

    Above 1 gradients explode toward the input, below 1 they vanish (Schoenholz et al.
    2017). For ReLU it is weight_variance / 2 at every q.

    Assumes: infinite width, and weights independent in the two directions.
    """
    _check(q, weight_variance, 0.0)
    slope = _named(activation).derivative
    return weight_variance * _mean(lambda z: slope(np.sqrt(q) * z) ** 2)


def correlation_map(
    c: float,
    activation: str | Activation,
    weight_variance: float,
    bias_variance: float = 0.0,
    q: float | None = None,
) -> float:
    """The correlation of two inputs' pre-activations a layer on, from theirs, c.

    (weight_variance E[phi(u) phi(v)] + bias_variance) / q*, u and v of variance q* and
    correlation c (Poole et al. 2016). At c = 1 its slope is chi_1.

    Args:
        q: the variance, where there is no fixed point (ReLU: any value gives the same).

    Raises:
        GradflowError: c outside [-1, 1]; q* is 0, where there is no correlation.
    """
    require(-1 <= c <= 1, "c", c, "a correlation, from -1 to 1")
    if q is None:
        q = fixed_point(activation, weight_variance, bias_variance)
    require(q > 0, "q", q, "above 0: signals that die out have no correlation")
    _check(q, weight_variance, bias_variance)
    phi, size, other = _named(activation).function, np.sqrt(q), np.sqrt(1 - c**2)
    nodes, weights = _quadrature()

    def inner(z: float) -> float:
        # v = c z + sqrt(1 - c^2) w has its kink where w = -c z / sqrt(1 - c^2).
        if other < 1e-12:
            return float(phi(np.array([size * c * z]))[0])
        kink = np.clip(-c * z / other, -REACH, REACH)
        total = 0.0
        for low, high in ((-REACH, kink), (kink, REACH)):
            w = (high + low) / 2 + (high - low) / 2 * _LEGENDRE[0]
            density = np.exp(-(w**2) / 2) / np.sqrt(2 * np.pi) * _LEGENDRE[1] * (high - low) / 2
            total += float(density @ phi(size * (c * z + other * w)))
        return total

    first = phi(size * nodes)
    product = float(weights @ (first * np.array([inner(z) for z in nodes])))
    return (weight_variance * product + bias_variance) / variance_map(
        q, activation, weight_variance, bias_variance
    )


def depth_scale(
    activation: str | Activation, weight_variance: float, bias_variance: float = 0.0
) -> float:
    """-1 / ln chi_1, in layers: how deep gradients reach, or correlations, before they are lost.

    Schoenholz et al. 2017. Domain: the ordered phase, chi_1 < 1; at the edge of chaos
    it is infinite.

    Raises:
        GradflowError: chi_1 > 1, where gradients explode instead.
    """
    q = fixed_point(activation, weight_variance, bias_variance)
    chi = gradient_factor(q, activation, weight_variance)
    require(chi < 1 + 1e-9, "chi_1", f"{chi:.4g}", "at most 1: gradients explode here")
    return float(np.inf) if chi >= 1 - 1e-9 else float(-1 / np.log(chi))


def relu_correlation(c: float) -> float:
    """J(c) = (sqrt(1 - c^2) + c (pi - arccos c)) / pi: `correlation_map` of ReLU, closed.

    The arc-cosine kernel of order 1, normalised (Cho and Saul 2009), without biases.
    """
    require(-1 <= c <= 1, "c", c, "a correlation, from -1 to 1")
    return float((np.sqrt(1 - c**2) + c * (np.pi - np.arccos(c))) / np.pi)


def relu_gate_correlation(c: float) -> float:
    """1 - arccos(c) / pi = 2 P(both gates open): the arc-cosine kernel of order 0 (same source)."""
    require(-1 <= c <= 1, "c", c, "a correlation, from -1 to 1")
    return float(1 - np.arccos(c) / np.pi)


_LEGENDRE = np.polynomial.legendre.leggauss(NODES)


def _quadrature() -> tuple[Array, Array]:
    """Nodes and weights of E[f(z)], z standard normal, for f smooth on either side of 0."""
    half = REACH / 2
    right = half + half * _LEGENDRE[0]
    weights = half * _LEGENDRE[1] * np.exp(-(right**2) / 2) / np.sqrt(2 * np.pi)
    return np.concatenate([-right, right]), np.concatenate([weights, weights])


def _mean(f: Function) -> float:
    nodes, weights = _quadrature()
    return float(weights @ f(nodes))


def _named(activation: str | Activation) -> Activation:
    if isinstance(activation, Activation):
        return activation
    require(activation in ACTIVATIONS, "activation", activation, f"one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[activation]


def _check(q: float, weight_variance: float, bias_variance: float) -> None:
    require(0 <= q < np.inf, "q", q, "a variance, at least 0")
    require(0 <= weight_variance < np.inf, "weight_variance", weight_variance, "at least 0")
    require(0 <= bias_variance < np.inf, "bias_variance", bias_variance, "at least 0")
