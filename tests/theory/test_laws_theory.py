"""Closed forms of laws over depth against sums written out, and Monte Carlo in NumPy."""

import numpy as np
import pytest
from scipy.stats import ortho_group

from gradflow.core.errors import GradflowError
from gradflow.theory import depth, streams
from gradflow.theory.shaped import jacobian_spread

pytestmark = pytest.mark.numeric


@pytest.mark.parametrize("layers", [1, 2, 7, 40])
def test_update_growth_is_a_sum_over_pairs_of_layers(layers):
    pairs = [
        1 + 2 * (layers - 1 - max(one, other)) for one in range(layers) for other in range(layers)
    ]
    assert depth.update_growth(layers) == pytest.approx(sum(pairs))


@pytest.mark.parametrize("blocks", [2, 5, 30])
def test_residual_update_growth_is_a_sum_over_pairs_of_blocks(blocks):
    """Squared norms of activations, forward factors between, and (J J^T)^2 behind, by recursion."""
    a, spread = 1 + 1 / blocks, [1.0]
    for behind in range(blocks):  # one block more below: of S Q S, S = (1 + B)(1 + B)^T
        spread.append(a**2 * spread[-1] + 2 / blocks * a ** (2 * behind + 1))
    total = 0.0
    for one in range(1, blocks):
        for other in range(1, blocks):
            late = max(one, other)
            norms = a ** (one - 1) * a ** (other - 1)
            total += norms * a ** abs(one - other) * spread[blocks - 1 - late]
    assert depth.residual_update_growth(blocks) == pytest.approx(total / blocks**2)


def test_residual_update_growth_has_a_limit_and_the_plain_one_has_none():
    assert depth.residual_update_growth(100_000) == pytest.approx(5 * np.e**2 / 3, rel=1e-3)
    exponent = np.log2(depth.update_growth(20_000) / depth.update_growth(10_000))
    assert exponent == pytest.approx(3, abs=1e-3)


def test_a_linear_batch_norm_layer_by_monte_carlo():
    """|P g|^2 / |x|^2 of random neurons x: the mean square B of an output and the covariance
    B / (B - 1) of an input leave B - 1, which is |g|^2; within five standard errors."""
    rng, batch = np.random.default_rng(0), 12
    x, g = (rows - rows.mean(1, keepdims=True) for rows in rng.standard_normal((2, 200_000, batch)))
    squares = (x**2).sum(1)
    kept = (g**2).sum(1) - (g * x).sum(1) ** 2 / squares
    found = kept / squares
    error = found.std() / len(found) ** 0.5
    assert abs(found.mean() - depth.linear_batch_norm_factor(batch)) < 5 * error


def test_what_a_rotation_and_a_norm_leave_of_a_small_gap():
    rng, d = np.random.default_rng(1), 8
    factors = []
    for rotation in ortho_group.rvs(d, size=2000, random_state=rng):
        off = 1e-4 * rng.standard_normal((d, d))
        off = (off + off.T) / 2
        off -= np.eye(d) * np.trace(off) / d
        turned = rotation @ (np.eye(d) + off) @ rotation.T
        sizes = np.sqrt(np.diag(turned))
        left = turned / np.outer(sizes, sizes) - np.eye(d)
        factors.append((left**2).sum() / (off**2).sum())
    error = np.std(factors) / len(factors) ** 0.5
    assert abs(np.mean(factors) - depth.isometry_gap_factor(d)) < 5 * error


def test_jacobian_spread_of_linear_and_of_random_layers():
    """Orthogonal linear layers are isometric; of one Gaussian matrix the fourth moment is 2."""
    assert jacobian_spread("identity", 1.0, 50, orthogonal=True) == pytest.approx(0, abs=1e-12)
    assert jacobian_spread("identity", 1.0, 1, orthogonal=False) == pytest.approx(1)
    assert jacobian_spread("relu", 1.0, 1, orthogonal=False) == pytest.approx(2)


def test_what_an_mlp_adds_by_monte_carlo():
    rng = np.random.default_rng(2)
    from scipy.special import erf

    for scale in (1.0, 0.2):
        z = rng.standard_normal(1_000_000) * scale * np.sqrt(2 / 5)
        gelu = 0.5 * z * (1 + erf(z / np.sqrt(2)))
        values = 4 * 2 / 5 * gelu**2
        error = values.std() / 1000
        assert abs(values.mean() - streams.mlp_output(scale)) < 5 * error
    assert streams.peri_norm_stream(0) == 1
    assert streams.peri_norm_stream(40) == 41


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: depth.linear_batch_norm_factor(3), "batch=3: must be above 3"),
        (lambda: depth.residual_update_growth(1), "blocks=1: must be at least 2"),
        (lambda: depth.update_growth(0), "layers=0: must be at least 1"),
        (lambda: depth.isometry_gap_factor(0), "width=0: must be at least 1"),
        (lambda: streams.mlp_output(-1.0), "input_scale=-1.0: must be at least 0"),
        (lambda: streams.peri_norm_stream(-1), "block=-1: must be at least 0"),
    ],
)
def test_outside_of_their_domain_they_refuse(call, told):
    with pytest.raises(GradflowError, match=told):
        call()
