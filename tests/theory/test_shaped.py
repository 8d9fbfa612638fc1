"""Shaped activations and weights against the quadrature of mean_field, and Monte Carlo by hand."""

import numpy as np
import pytest

from gradflow.core.errors import GradflowError
from gradflow.theory import mean_field
from gradflow.theory.mean_field import Activation
from gradflow.theory.shaped import (
    HOMOGENEOUS,
    edge_of_chaos,
    leaky_relu_correlation,
    network_correlation,
    tailored_slope,
)

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("slope", [0.0, 0.2, 0.7, 1.0])
@pytest.mark.parametrize("c", [-0.9, 0.0, 0.3, 0.99])
def test_the_closed_map_is_that_of_the_quadrature(c, slope):
    leaky = Activation(
        lambda x: np.where(x > 0, x, slope * x), lambda x: np.where(x > 0, 1.0, slope)
    )
    expected = mean_field.correlation_map(c, leaky, 2 / (1 + slope**2), q=1.0)
    assert leaky_relu_correlation(c, slope) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("layers", [19, 55, 109, 1000])
@pytest.mark.parametrize("eta", [0.8, 0.9])
def test_a_tailored_network_ends_at_eta_at_every_depth(layers, eta):
    slope = tailored_slope(layers, eta)
    assert 0 < slope < 1
    assert network_correlation(layers, slope) == pytest.approx(eta, abs=1e-12)
    assert network_correlation(layers, slope, 1.0) == pytest.approx(1)


def test_of_few_layers_even_relu_ends_below_eta():
    assert tailored_slope(7) == 0
    assert network_correlation(7, 0.0) < 0.9


def test_slopes_grow_with_depth_toward_the_identity():
    slopes = [tailored_slope(layers) for layers in (15, 30, 100, 300)]
    assert slopes == sorted(slopes)


@pytest.mark.parametrize("biases", [0.0, 1e-8, 2e-5, 0.05, 1.0, 100.0])
def test_on_the_edge_of_chaos_gradients_keep_their_size(biases):
    weights, q = edge_of_chaos("tanh", biases)
    assert mean_field.gradient_factor(q, "tanh", weights) == pytest.approx(1, abs=1e-12)
    assert mean_field.variance_map(q, "tanh", weights, biases) == pytest.approx(q, rel=1e-10)
    if biases:  # on either side of it they vanish, or explode
        factors = []
        for share in (0.9, 1.1):
            there = mean_field.fixed_point("tanh", share * weights, biases)
            factors.append(mean_field.gradient_factor(there, "tanh", share * weights))
        assert factors[0] < 1 < factors[1]


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "identity"])
def test_homogeneous_activations_keep_every_variance(activation):
    weights, _ = edge_of_chaos(activation)
    for q in (0.01, 1.0, 50.0):
        assert mean_field.variance_map(q, activation, weights) == pytest.approx(q)
        assert mean_field.gradient_factor(q, activation, weights) == pytest.approx(1)
    assert weights == HOMOGENEOUS[activation]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: edge_of_chaos("gelu"), "activation=gelu: must be one of tanh, relu"),
        (lambda: edge_of_chaos("relu", 0.1), "bias_variance=0.1: must be 0 for relu"),
        (lambda: edge_of_chaos("tanh", -1.0), "bias_variance=-1.0: must be from 0 to 1000"),
        (lambda: leaky_relu_correlation(0.0, 1.5), "slope=1.5: must be from 0 to 1"),
        (lambda: leaky_relu_correlation(2.0, 0.5), "c=2.0: must be a correlation"),
        (lambda: tailored_slope(0), "layers=0: must be at least 1"),
        (lambda: tailored_slope(10, 1.0), "eta=1.0: must be above 0 and below 1"),
    ],
)
def test_outside_of_their_domain_they_refuse(call, told):
    with pytest.raises(GradflowError, match=told):
        call()
