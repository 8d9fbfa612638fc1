"""Mean-field maps against quadrature of another kind, closed kernels and Monte Carlo."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from gradflow.core.errors import GradflowError
from gradflow.theory import mean_field
from gradflow.theory.mean_field import ACTIVATIONS, Activation

pytestmark = pytest.mark.numeric


def integral(f):
    """E[f(z)], z standard normal, by adaptive quadrature."""
    density = scipy.stats.norm.pdf
    halves = [
        scipy.integrate.quad(lambda z: f(z) * density(z), *ends, epsabs=1e-12)
        for ends in ((-12, 0), (0, 12))
    ]
    return sum(value for value, _ in halves)


def call(function, z):
    return float(function(np.array([z]))[0])


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("q", [0.01, 1.0, 30.0])
def test_moments_of_every_activation(name, q):
    phi, slope = ACTIVATIONS[name]
    size = math.sqrt(q)
    expected = 1.3 * integral(lambda z: call(phi, size * z) ** 2) + 0.2
    assert mean_field.variance_map(q, name, 1.3, 0.2) == pytest.approx(expected, rel=1e-8)
    expected = 1.3 * integral(lambda z: call(slope, size * z) ** 2)
    assert mean_field.gradient_factor(q, name, 1.3) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivatives_are_those_of_the_functions(name):
    phi, slope = ACTIVATIONS[name]
    x = np.array([-3.0, -1.2, -0.1, 0.1, 0.7, 4.0])
    np.testing.assert_allclose(slope(x), (phi(x + 1e-6) - phi(x - 1e-6)) / 2e-6, atol=1e-8)


@pytest.mark.parametrize(("variance", "expected"), [(1.0, 0.5), (2.0, 1.0), (3.0, 1.5)])
def test_chi_of_relu_is_half_the_weight_variance(variance, expected):
    assert mean_field.gradient_factor(0.7, "relu", variance) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("weights", "biases"), [(1.5, 0.1), (3.0, 0.0), (0.8, 0.3)])
def test_a_tanh_network_comes_to_its_fixed_point(weights, biases):
    q = mean_field.fixed_point("tanh", weights, biases)

    def layer(q):
        return weights * integral(lambda z: math.tanh(math.sqrt(q) * z) ** 2) + biases

    assert layer(q) == pytest.approx(q, rel=1e-9)
    assert q / 2 < layer(q / 2) < q < layer(2 * q) < 2 * q  # from either side it is come to


def test_where_there_is_no_fixed_point_it_says_so():
    assert mean_field.fixed_point("tanh", 0.9) == 0
    with pytest.raises(GradflowError, match="grows without bound"):
        mean_field.fixed_point("relu", 2.5, 0.1)
    with pytest.raises(GradflowError, match="no fixed point"):
        mean_field.fixed_point("relu", 2.0)


@given(st.floats(-1, 1))
@settings(max_examples=30, deadline=None)
def test_the_relu_map_is_the_arc_cosine_kernel(c):
    closed = mean_field.relu_correlation(c)
    assert mean_field.correlation_map(c, "relu", 2.0, q=0.3) == pytest.approx(closed, abs=1e-7)


@pytest.mark.parametrize("c", [-0.9, 0.0, 0.5, 0.99])
def test_the_correlation_map_of_tanh_by_monte_carlo(c):
    draw = np.random.default_rng(0)
    q = mean_field.fixed_point("tanh", 1.5, 0.1)
    u, w = draw.standard_normal((2, 2_000_000))
    v = c * u + math.sqrt(1 - c**2) * w
    products = np.tanh(math.sqrt(q) * u) * np.tanh(math.sqrt(q) * v)
    expected = (1.5 * products.mean() + 0.1) / q
    error = 4 * 1.5 * products.std() / math.sqrt(len(u)) / q
    assert mean_field.correlation_map(c, "tanh", 1.5, 0.1) == pytest.approx(expected, abs=error)


def test_the_correlation_maps_slope_at_one_is_chi():
    q = mean_field.fixed_point("tanh", 1.5, 0.1)
    chi = mean_field.gradient_factor(q, "tanh", 1.5)
    step = 1e-4
    ends = [mean_field.correlation_map(c, "tanh", 1.5, 0.1) for c in (1.0, 1 - step)]
    assert ends[0] == pytest.approx(1, abs=1e-9)
    assert (ends[0] - ends[1]) / step == pytest.approx(chi, rel=1e-3)


def test_gradients_decay_at_the_depth_scale():
    scale = mean_field.depth_scale("tanh", 1.0, 0.1)
    q = mean_field.fixed_point("tanh", 1.0, 0.1)
    chi = integral(lambda z: (1 - math.tanh(math.sqrt(q) * z) ** 2) ** 2)
    assert chi**scale == pytest.approx(math.exp(-1), rel=1e-8)
    with pytest.raises(GradflowError, match="gradients explode"):
        mean_field.depth_scale("tanh", 4.0, 0.0)


def test_an_activation_of_ones_own_and_an_unknown_one():
    cube = Activation(lambda x: x**3, lambda x: 3 * x**2)
    assert mean_field.variance_map(1.0, cube, 1.0) == pytest.approx(15, rel=1e-9)  # E[z^6]
    with pytest.raises(GradflowError, match="activation=step: must be one of relu"):
        mean_field.variance_map(1.0, "step", 1.0)


@pytest.mark.parametrize(
    ("function", "arguments", "told"),
    [
        (mean_field.variance_map, (-1.0, "relu", 1.0), "q=-1.0: must be a variance"),
        (mean_field.variance_map, (1.0, "relu", -1.0), "weight_variance=-1.0"),
        (mean_field.correlation_map, (1.5, "relu", 1.0), "c=1.5: must be a correlation"),
        (mean_field.relu_correlation, (2.0,), "c=2.0"),
        (mean_field.relu_gate_correlation, (-2.0,), "c=-2.0"),
    ],
)
def test_out_of_its_domain_a_function_raises(function, arguments, told):
    with pytest.raises(GradflowError) as raised:
        function(*arguments)
    assert str(raised.value).startswith(told)
