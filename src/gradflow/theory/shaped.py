"""Activations and weights shaped so that a deep plain network keeps its inputs apart.

Of W phi(x) + b at infinite width, as in `mean_field`; layers are counted from 1.
"""

import math
from typing import NamedTuple

from scipy.optimize import brentq

from gradflow.theory import mean_field
from gradflow.theory.domain import count, real, require
from gradflow.theory.gaussian import mean

ETA = 0.9
"""Where the correlation of orthogonal inputs ends (Zhang et al. 2022, arXiv 2203.08120)."""

HOMOGENEOUS = {"relu": 2.0, "leaky_relu": 2 / (1 + 0.01**2), "identity": 1.0, "tailored_relu": 1.0}
"""activation -> the weight variance that keeps every variance, without biases."""


class Edge(NamedTuple):
    """A point of the edge of chaos: chi_1 = 1 at the fixed point q of the variance map."""

    weight_variance: float
    q: float


def leaky_relu_correlation(c: float, slope: float) -> float:
    """((1 - a)^2 J(c) + 2 a c) / (1 + a^2): `mean_field.correlation_map` of max(x, a x), closed.

    J is `mean_field.relu_correlation` (Zhang et al. 2022); without biases.

    Args:
        slope: a, from 0 (ReLU) to 1 (the identity).
    """
    c, a = real(c, "c", "a correlation, from -1 to 1", low=-1, high=1), _slope(slope)
    found = ((1 - a) ** 2 * mean_field.relu_correlation(c) + 2 * a * c) / (1 + a * a)
    return min(1.0, max(-1.0, found))  # rounding aside it is in there


def network_correlation(layers: int, slope: float, c: float = 0.0) -> float:
    """`leaky_relu_correlation` applied `layers` times: what two inputs' correlation ends at."""
    for _ in range(count(layers, "layers")):
        c = leaky_relu_correlation(c, slope)
    return c


def tailored_slope(layers: int, eta: float = ETA) -> float:
    """The slope whose network maps correlation 0 to eta; 0 if even ReLU's ends below it.

    Tailored rectifiers (Zhang et al. 2022): the map of all layers ends at `eta`
    whatever the depth, where ReLU's tends to 1 and every input looks the same to the head.
    """
    layers = count(layers, "layers")
    eta = real(eta, "eta", "above 0 and below 1", above=0, high=1 - 1e-9)
    if network_correlation(layers, 0.0) <= eta:
        return 0.0
    return float(brentq(lambda a: network_correlation(layers, a) - eta, 0.0, 1.0, xtol=1e-15))


def edge_of_chaos(activation: str, bias_variance: float = 0.0) -> Edge:
    """The weight variance at which gradients neither explode nor vanish, and q* there.

    tanh: the curve sigma_w^2 = 1 / E[phi'(sqrt(q) z)^2], sigma_b^2 = q - sigma_w^2 E[phi(sqrt(q)
    z)^2], q >= 0 (Schoenholz et al. 2017; Xiao et al. 2018). Rectifiers and the identity: the one
    point without biases, where every q is a fixed point; 1 stands for it.

    Raises:
        GradflowError: another activation; a bias variance above 1e3, or of a rectifier above 0.
    """
    known = f"one of tanh, {', '.join(HOMOGENEOUS)}"
    require(activation == "tanh" or activation in HOMOGENEOUS, "activation", activation, known)
    biases = real(bias_variance, "bias_variance", "from 0 to 1000", low=0, high=1e3)
    if activation != "tanh":
        require(biases == 0, "bias_variance", bias_variance, f"0 for {activation}: others add up")
        return Edge(HOMOGENEOUS[activation], 1.0)
    if biases == 0:
        return Edge(1.0, 0.0)
    low, high = math.log(biases), math.log(1e9)
    q = math.exp(brentq(lambda log: math.log(_bias_at(math.exp(log))) - low, low, high))
    return Edge(_weight_at(q), q)


def jacobian_spread(activation: str, q: float, layers: int, *, orthogonal: bool) -> float:
    """L (mu_2 / mu_1^2 - 1), and L more of Gaussian weights: variance over squared mean of the
    squared singular values of L layers' Jacobian.

    mu_k is E[phi'(sqrt(q) z)^2k]; 0 is dynamical isometry (Pennington et al. 2018, section 2.3).
    """
    slope, size = mean_field.ACTIVATIONS[activation].derivative, math.sqrt(real(q, "q", low=0))
    first, second = mean(lambda x: slope(x) ** 2, size), mean(lambda x: slope(x) ** 4, size)
    return count(layers, "layers") * (second / first**2 - (1 if orthogonal else 0))


def _weight_at(q: float) -> float:
    slope = mean_field.ACTIVATIONS["tanh"].derivative
    return 1 / mean(lambda x: slope(x) ** 2, math.sqrt(q))


def _bias_at(q: float) -> float:
    phi = mean_field.ACTIVATIONS["tanh"].function
    return q - _weight_at(q) * mean(lambda x: phi(x) ** 2, math.sqrt(q))


def _slope(slope: float) -> float:
    return real(slope, "slope", "from 0 to 1", low=0, high=1)
