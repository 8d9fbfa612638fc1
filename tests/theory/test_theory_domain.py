"""Where theory holds it is right at every size; outside of it, or given nonsense, one clear line.

Oracles: the closed forms of erf networks (Williams 1997), and adaptive quadrature in x itself.
"""

import inspect
import itertools
import math

import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf

from gradflow.core.errors import GradflowError
from gradflow.theory import depth, mean_field, shaped, streams
from gradflow.theory.mean_field import ACTIVATIONS, Activation

pytestmark = pytest.mark.numeric

ERF = Activation(erf, lambda x: 2 / math.sqrt(math.pi) * np.exp(-(x**2)))
SIZES = [0.0, 1e-290, 1e-12, 1e-3, 1.0, 50.0, 1e4, 1e8, 1e12, 1e40, 1e290]


@pytest.mark.parametrize("q", SIZES)
def test_moments_of_erf_at_every_variance(q):
    # 2/pi arcsin(2q / (1 + 2q)), without the loss of digits near arcsin(1).
    moment = 2 / math.pi * math.atan2(2 * q, math.sqrt(1 + 4 * q))
    assert mean_field.variance_map(q, ERF, 1.3, 0.2) == pytest.approx(1.3 * moment + 0.2, rel=1e-12)
    assert mean_field.variance_map(q, ERF, 1.0) == pytest.approx(moment, rel=1e-12)
    chi = 4 / math.pi / math.sqrt(1 + 4 * q)
    assert mean_field.gradient_factor(q, ERF, 1.3) == pytest.approx(1.3 * chi, rel=1e-12)


@pytest.mark.parametrize("q", [1e-12, 1e-3, 1.0, 1e4, 1e12])
@pytest.mark.parametrize("c", [-1.0, -0.999999, -0.3, 0.0, 0.7, 1 - 1e-9, 1.0])
def test_the_correlation_map_of_erf_and_of_relu_at_every_variance(c, q):
    def moment(c):
        share = math.sqrt((1 + 2 * q) ** 2 - (2 * q * c) ** 2)
        return 2 / math.pi * math.atan2(2 * q * c, share)

    found = mean_field.correlation_map(c, ERF, 1.3, 0.2, q=q)
    expected = (1.3 * moment(c) + 0.2) / (1.3 * moment(1.0) + 0.2)
    assert found == pytest.approx(expected, rel=1e-9)
    closed = mean_field.relu_correlation(c)
    assert mean_field.correlation_map(c, "relu", 2.0, q=q) == pytest.approx(closed, abs=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("q", [1e-8, 400.0, 1e5, 1e9])
def test_moments_by_adaptive_quadrature_where_the_activation_turns(name, q):
    def mean(f):
        edges = [0.0, *(10.0**k for k in range(-3, 8) if 10.0**k < 13 * math.sqrt(q))]
        edges.append(13 * math.sqrt(q))
        if len(edges) == 2:
            edges = [0.0, *np.linspace(0, edges[1], 5)[1:]]

        def density(x):
            return math.exp(-(x**2) / (2 * q)) / math.sqrt(2 * math.pi * q)

        total = 0.0
        for sign in (-1, 1):
            for low, high in itertools.pairwise(edges):
                part, _ = scipy.integrate.quad(
                    lambda x, sign=sign: float(f(np.array([sign * x]))[0]) ** 2 * density(x),
                    low, high, epsabs=1e-16, epsrel=1e-11, limit=200,
                )  # fmt: skip
                total += part
        return total

    phi, slope = ACTIVATIONS[name]
    assert mean_field.variance_map(q, name, 1.0) == pytest.approx(mean(phi), rel=1e-9)
    assert mean_field.gradient_factor(q, name, 1.0) == pytest.approx(mean(slope), rel=1e-9)


@pytest.mark.parametrize(
    ("name", "slopes"),
    [
        ("relu", 0.5), ("leaky_relu", (1 + 1e-4) / 2), ("tanh", 1), ("gelu", 0.25),
        ("silu", 0.25), ("identity", 1),
    ],
)  # fmt: skip
def test_chi_at_variance_0_is_the_limit_and_gives_the_depth_scale(name, slopes):
    weights = 0.5 / slopes
    assert mean_field.fixed_point(name, weights) == 0.0
    assert mean_field.gradient_factor(0.0, name, weights) == pytest.approx(0.5, rel=1e-14)
    near = mean_field.gradient_factor(1e-20, name, weights)
    assert near == pytest.approx(0.5, rel=1e-9)
    assert mean_field.depth_scale(name, weights) == pytest.approx(1 / math.log(2), rel=1e-12)


def iterated(name, weights, biases, start):
    """Where the map itself leads from `start`."""
    q = start
    for _ in range(2000):
        following = mean_field.variance_map(q, name, weights, biases)
        if abs(following - q) <= 1e-15 * q:
            break
        q = following
    return q


@pytest.mark.parametrize(
    ("name", "weights", "biases"),
    [
        ("gelu", 2.5, 0.01), ("silu", 2.5, 0.01), ("gelu", 1.0, 0.3), ("relu", 1.5, 1e-12),
        ("relu", 1.5, 1e6), ("tanh", 0.9, 1e-10), ("tanh", 0.9, 1e-290), ("tanh", 1.5, 1e-15),
        ("tanh", 1.5, 0.0), ("tanh", 30.0, 0.0), ("tanh", 1e8, 0.0), ("tanh", 2.0, 1e9),
        ("leaky_relu", 1.9, 0.1), ("identity", 0.5, 0.5), (ERF, 2.0, 0.0), (ERF, 0.5, 1e-4),
    ],
)  # fmt: skip
def test_the_fixed_point_is_where_the_map_leads_from_below(name, weights, biases):
    q = mean_field.fixed_point(name, weights, biases)
    start = biases or 1e-6
    assert start <= q
    assert q == pytest.approx(iterated(name, weights, biases, start), rel=1e-10)


def test_known_fixed_points():
    assert mean_field.fixed_point("gelu", 2.5, 0.01) == pytest.approx(0.029, abs=5e-4)
    assert mean_field.fixed_point("relu", 1.9, 0.1) == pytest.approx(2, rel=1e-11)
    assert mean_field.fixed_point("identity", 1 - 1e-5, 1.0) == pytest.approx(1e5, rel=1e-8)
    assert mean_field.fixed_point("tanh", 0.0, 0.3) == 0.3
    assert mean_field.fixed_point("relu", 0.0) == 0.0
    assert mean_field.fixed_point("tanh", 1.0) == 0.0  # drawn there, though slowly
    # tanh(x)^2 = x^2 - 2/3 x^4 + 17/45 x^6 - ...: q = w (q - 2 q^2 + 17/3 q^3).
    assert mean_field.fixed_point("tanh", 1 + 1e-5) == pytest.approx(5e-6, rel=1e-4)
    with pytest.raises(GradflowError, match="grows without bound"):
        mean_field.fixed_point("gelu", 4.0)  # slope 1 at 0, and convex
    with pytest.raises(GradflowError, match="grows without bound"):
        mean_field.fixed_point("relu", 2.0, 0.1)
    with pytest.raises(GradflowError, match="keeps every small variance"):
        mean_field.fixed_point("identity", 1.0)
    with pytest.raises(GradflowError, match="rounding decides where it is"):
        mean_field.fixed_point("tanh", 1.0, 1e-20)


def test_a_well_that_is_narrow_is_found():
    """gelu's map touches the identity: a little less weight, and two fixed points lie close."""

    def gap(weights):
        def growth(q):
            return mean_field.variance_map(q, "gelu", weights, 0.01) / q - 1

        options = {"xatol": 1e-6}
        return scipy.optimize.minimize_scalar(
            growth, bounds=(0.01, 1), method="bounded", options=options
        ).fun

    low, high = 2.5, 4.0
    for _ in range(24):
        middle = (low + high) / 2
        low, high = (middle, high) if gap(middle) < 0 else (low, middle)
    edge = low
    q = mean_field.fixed_point("gelu", edge - 1e-5, 0.01)
    assert mean_field.variance_map(q, "gelu", edge - 1e-5, 0.01) == pytest.approx(q, rel=1e-12)
    with pytest.raises(GradflowError, match="grows without bound"):
        mean_field.fixed_point("gelu", edge + 1e-5, 0.01)


@pytest.mark.parametrize(
    ("activation", "q", "told"),
    [
        (Activation(lambda x: np.sin(x * 1e6), np.cos), 1.0, "two quadratures of its mean differ"),
        (Activation(lambda x: (x > 1.234).astype(float), np.cos), 1.0, "two quadratures"),
        (Activation(np.exp, np.exp), 1e6, "its mean is not finite"),
        (Activation(lambda x: x[:3], np.cos), 1.0, "must return one real number for each"),
        (Activation(lambda x: x * 1j, np.cos), 1.0, "must return one real number for each"),
        (Activation(3, 4), 1.0, "activation=.*must be one of relu, "),
        (["relu"], 1.0, "activation=.*must be one of relu, "),
        (None, 1.0, "activation=None: must be one of relu, "),
    ],
)
def test_an_activation_that_cannot_be_integrated_is_refused(activation, q, told):
    with pytest.raises(GradflowError, match=told):
        mean_field.variance_map(q, activation, 1.0)


def test_results_beyond_float64_are_refused():
    for function, arguments in (
        (mean_field.variance_map, (1e200, "relu", 1e200)),
        (mean_field.gradient_factor, (1.0, Activation(np.tanh, lambda x: 1e100 + x), 1e200)),
        (depth.plain_ratio, (1000, 1e10)),
        (depth.residual_ratio, (10**6, 1.0)),
        (depth.residual_factor, (1e200, 1e200)),
        (depth.batch_norm_residual_ratio, (2, 1, 1e-320)),
    ):
        with pytest.raises(GradflowError, match="outside of float64"):
            function(*arguments)
    assert depth.plain_ratio(5000, 0.5) == 0.0  # rounded, as every float is


def test_closed_forms_keep_their_digits_at_the_ends():
    assert depth.batch_norm_factor(1e300) == pytest.approx(math.pi / (math.pi - 1), rel=1e-12)
    assert depth.path_probability(54, 54, 54) == pytest.approx(2.0**-54, rel=1e-12)
    assert depth.gradient_correlation(3, 1.0, 1e200) == 1.0
    assert depth.gradient_correlation(3, 0.2, 1e200) == depth.gradient_correlation(3, 0.2)
    for c in np.linspace(-1, 1, 2001):
        assert 0 <= mean_field.relu_correlation(c) <= 1


FUNCTIONS = [
    function
    for module in (depth, mean_field, shaped, streams)
    for name, function in vars(module).items()
    if inspect.isfunction(function)
    and function.__module__ == module.__name__
    and not name.startswith("_")
]
LIKELY = {
    "activation": st.sampled_from([*ACTIVATIONS]),
    "skip": st.booleans(),
    "orthogonal": st.booleans(),
    "layers": st.integers(1, 60),
    "blocks": st.integers(1, 60),
    "batch_norm": st.integers(1, 60),
    "block": st.integers(0, 60),
    "low": st.integers(0, 5),
    "high": st.integers(5, 9),
    "width": st.integers(1, 500),
}
ODD = st.one_of(
    st.floats(),
    st.sampled_from([0.0, -0.0, 5e-324, 1e-300, 1e300, 1.7e308, math.inf, math.nan, -1.0]),
    st.integers(),
    st.sampled_from([10**400, -(10**400), 10**9]),
    st.sampled_from([None, True, "", "1", "relu\n", b"x", 1j, (), [1.0], {}, np.ones(2), object()]),
    st.sampled_from([np.float32(0.3), np.int64(4), np.float64("nan"), np.bool_(True)]),
)


def test_all_functions_of_theory_are_tried():
    assert len(FUNCTIONS) == 29


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
@given(data=st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_argument_gives_a_number_or_one_line(function, data):
    """At least one argument is odd; the others are likely ones."""
    names = list(inspect.signature(function).parameters)
    odd = data.draw(st.sets(st.sampled_from(names), min_size=1))
    arguments = {
        name: data.draw(ODD if name in odd else LIKELY.get(name, st.floats(0, 1)), label=name)
        for name in names
    }
    refused = ""
    try:
        result = function(**arguments)
    except GradflowError as error:
        refused = str(error)
    if refused:
        assert len(refused.splitlines()) == 1
        assert "must be" in refused or ":" in refused
        return
    values = list(result) if isinstance(result, list | tuple) else [result]
    assert all(type(value) is float for value in values)
    assert not any(math.isnan(value) for value in values)
    assert all(math.isfinite(value) for value in values) or function is mean_field.depth_scale
    assert not any(isinstance(value, str | bytes | complex) for value in arguments.values()
                   if value not in ACTIVATIONS)  # fmt: skip
