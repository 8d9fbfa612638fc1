"""Mean-field maps of wide random networks: how variances and correlations change in a layer.

A layer is h = W phi(x) + b with independent weights of variance weight_variance / fan-in
and biases of variance bias_variance. In the limit of infinite width pre-activations are
Gaussian, and a layer maps their variance q, the correlation c of two inputs' pre-activations
and the squared gradient by the functions here (Poole et al. 2016; Schoenholz et al. 2017).
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import erf

from gradflow.theory import stability
from gradflow.theory.domain import real, representable, require
from gradflow.theory.gaussian import Array, Function, mean, mean_product

LARGEST = 1e290  # a variance: squares of activations at 12 standard deviations are below 1.8e308


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
        GradflowError: a negative q or variance, or above 1e290; an unknown activation; one whose
            mean two quadratures do not agree on.
    """
    q = _variance(q, "q")
    weights = _variance(weight_variance, "weight_variance")
    biases = _variance(bias_variance, "bias_variance")
    phi = _named(activation).function
    moment = float(_squared(phi, np.zeros(1))[0]) if q == 0 else _second_moment(phi, q)
    return representable(
        weights * moment + biases, f"variance_map of {q=:g}, {weight_variance=}, {bias_variance=}"
    )


def fixed_point(
    activation: str | Activation, weight_variance: float, bias_variance: float = 0.0
) -> float:
    """The lowest stable fixed point q* of `variance_map`: small variances are drawn to it.

    Domain: weight_variance up to 1e30, bias_variance 0 or from 1e-290 to 1e30.

    0 is one if the map's slope there is below 1, or is 1 and the map lies below the identity
    (tanh with weight_variance 1). The relative error is about 1e-14 over 1 minus the slope at q*.

    Raises:
        GradflowError: the variance grows without bound (ReLU with weight_variance > 2); every
            variance is kept as it is (ReLU with 2); the slope at q* is within 1e-8 of 1, so that
            rounding decides where q* is; or as `variance_map`.
    """
    weights = real(weight_variance, "weight_variance", "from 0 to 1e30", low=0, high=1e30)
    biases = real(bias_variance, "bias_variance", "0, or from 1e-290 to 1e30", low=0, high=1e30)
    is_normal = biases == 0 or biases >= stability.SMALLEST
    require(is_normal, "bias_variance", bias_variance, "0, or from 1e-290 to 1e30")
    phi = _named(activation)
    return stability.lowest_fixed_point(
        lambda q: variance_map(q, phi, weights, biases),
        slope_at_zero=lambda: gradient_factor(0.0, phi, weights),
        floor=biases,
        ceiling=stability.REACH * max(1.0, weights + biases),
        where=f"weight_variance={weight_variance}, bias_variance={bias_variance}",
    )


def gradient_factor(q: float, activation: str | Activation, weight_variance: float) -> float:
    """chi_1 = weight_variance E[phi'(sqrt(q) z)^2]: the squared gradient's factor, a layer back.

    Above 1 gradients explode toward the input, below 1 they vanish (Schoenholz et al.
    2017). For ReLU it is weight_variance / 2 at every q; at q = 0 it is the limit for q -> 0.

    Assumes: infinite width, and weights independent in the two directions.

    Raises:
        GradflowError: as `variance_map`.
    """
    q, weights = _variance(q, "q"), _variance(weight_variance, "weight_variance")
    slope = _named(activation).derivative
    factor = weights * mean(lambda x: _squared(slope, x), math.sqrt(q))
    return representable(factor, f"gradient_factor of {q=:g}, {weight_variance=}")


def correlation_map(
    c: float,
    activation: str | Activation,
    weight_variance: float,
    bias_variance: float = 0.0,
    q: float | None = None,
) -> float:
    """The correlation of two inputs' pre-activations a layer on, from theirs, c.

    (weight_variance E[phi(u) phi(v)] + bias_variance) / variance_map(q), u and v of variance q
    and correlation c (Poole et al. 2016). At c = 1 and q = q* its slope is chi_1.

    Args:
        q: the variance, 1e-12 ... 1e12; None: that of the fixed point, if there is one (for ReLU
            without biases any value gives the same).

    Raises:
        GradflowError: c outside [-1, 1]; q* is 0, where there is no correlation; the next layer's
            variance is 0; or as `fixed_point`.
    """
    c = real(c, "c", "a correlation, from -1 to 1", low=-1, high=1)
    weights = _variance(weight_variance, "weight_variance")
    biases = _variance(bias_variance, "bias_variance")
    phi = _named(activation)
    if q is None:
        q = fixed_point(phi, weights, biases)
    q = _variance(q, "q")
    require(q > 0, "q", q, "above 0: signals that die out have no correlation")
    require(1e-12 <= q <= 1e12, "q", q, "from 1e-12 to 1e12 for a correlation")
    following = variance_map(q, phi, weights, biases)
    require(following > 0, "variance of the next layer", following, "above 0 for a correlation")
    product = weights * mean_product(phi.function, math.sqrt(q), c) + biases
    return float(min(1.0, max(-1.0, product / following)))  # rounding aside it is in there


def depth_scale(
    activation: str | Activation, weight_variance: float, bias_variance: float = 0.0
) -> float:
    """-1 / ln chi_1, in layers: how deep gradients reach, or correlations, before they are lost.

    Schoenholz et al. 2017. Domain: the ordered phase, chi_1 < 1; at the edge of chaos
    it is infinite, and 0 if chi_1 is.

    Raises:
        GradflowError: chi_1 > 1, where gradients explode instead; or as `fixed_point`.
    """
    q = fixed_point(activation, weight_variance, bias_variance)
    chi = gradient_factor(q, activation, weight_variance)
    require(chi < 1 + 1e-9, "chi_1", f"{chi:.4g}", "at most 1: gradients explode here")
    if chi == 0:
        return 0.0
    return math.inf if chi >= 1 - 1e-9 else -1 / math.log(chi)


def relu_correlation(c: float) -> float:
    """J(c) = (sqrt(1 - c^2) + c (pi - arccos c)) / pi: `correlation_map` of ReLU, closed.

    The arc-cosine kernel of order 1, normalised (Cho and Saul 2009), without biases.
    """
    c = real(c, "c", "a correlation, from -1 to 1", low=-1, high=1)
    found = (math.sqrt((1 - c) * (1 + c)) + c * (math.pi - math.acos(c))) / math.pi
    return min(1.0, max(0.0, found))  # rounding aside it is in there


def relu_gate_correlation(c: float) -> float:
    """1 - arccos(c) / pi = 2 P(both gates open): the arc-cosine kernel of order 0 (same source)."""
    return 1 - math.acos(real(c, "c", "a correlation, from -1 to 1", low=-1, high=1)) / math.pi


def _second_moment(phi: Function, q: float) -> float:
    return mean(lambda x: _squared(phi, x), math.sqrt(q))


def _squared(f: Function, x: Array) -> Array:
    return np.square(f(x))


def _named(activation: str | Activation) -> Activation:
    if isinstance(activation, Activation) and all(map(callable, activation)):
        return activation
    is_known = isinstance(activation, str) and activation in ACTIVATIONS
    known = f"one of {', '.join(ACTIVATIONS)}, or an Activation of two functions"
    require(is_known, "activation", activation, known)
    return ACTIVATIONS[str(activation)]


def _variance(value: float, name: str) -> float:
    return real(value, name, "a variance, from 0 to 1e290", low=0, high=LARGEST)
