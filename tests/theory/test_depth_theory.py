"""What depth does, against random networks written here in NumPy, and against enumeration.

Tolerances allow for the finite width and the number of the samples. The samples are NumPy's, in
float64, the same on every machine, so how far off they are is so too, but for rounding.
"""

import itertools
import math

import numpy as np
import pytest

from gradflow.core.errors import GradflowError
from gradflow.theory import depth, mean_field

pytestmark = pytest.mark.numeric


def relu(x):
    return np.maximum(x, 0)


class Network:
    """Blocks of random weights on a batch, [examples, width], and the gradient by hand.

    Each block is skip x + scale W phi(x), phi ReLU or ReLU(BN); of two layers with batch norm
    W2 phi(W1 phi(x)), without W2 ReLU(W1 x).
    """

    def __init__(self, draw, blocks, width, *, skip, norm=False, layers=1, scale=1.0):
        self.skip, self.norm, self.scale = skip, norm, scale
        size = (blocks, layers, width, width)
        factor = 1.0 if norm else 2.0
        self.weights = draw.standard_normal(size) * math.sqrt(factor / width)

    def forward(self, x):
        """The input of each block, and the output."""
        self.kept, found = [], [x]
        for block in self.weights:
            h, kept = found[-1], []
            for number, weight in enumerate(block, start=1):
                deviation = h.std(axis=0) if self.norm else 1.0
                normal = (h - h.mean(axis=0)) / deviation if self.norm else h
                linear = not self.norm and number < len(block)
                gate = np.ones_like(normal) if linear else normal > 0
                kept.append((normal, deviation, weight, gate))
                h = (gate * normal) @ weight
            self.kept.append(kept)
            found.append(self.skip * found[-1] + self.scale * h)
        return found

    def backward(self, gradient):
        """The gradient at each block's input, first block first, and at the output."""
        found = [gradient]
        for kept in reversed(self.kept):
            g = self.scale * found[-1]
            for normal, deviation, weight, gate in reversed(kept):
                g = (g @ weight.T) * gate
                if self.norm:
                    g = g - g.mean(axis=0) - normal * (g * normal).mean(axis=0)
                    g = g / deviation
            found.append(self.skip * found[-1] + g)
        return found[::-1]


def squares(arrays):
    return np.array([np.sum(a**2) for a in arrays])


@pytest.mark.parametrize(
    ("layers", "scale", "factor"), [(1, 1.0, 1.0), (2, 1.0, 2.0), (1, 0.5, 1.0)]
)
def test_residual_factors_forward_and_backward(layers, scale, factor):
    draw = np.random.default_rng(1)
    ratios = []
    for _ in range(20):
        network = Network(draw, 4, 400, skip=1.0, layers=layers, scale=scale)
        values = squares(network.forward(draw.standard_normal((4, 400))))
        gradients = squares(network.backward(draw.standard_normal((4, 400))))
        ratios.append([values[-1] / values[0], gradients[0] / gradients[-1]])
    expected = depth.residual_ratio(4, factor, scale)
    np.testing.assert_allclose(np.mean(ratios, axis=0), expected, rtol=0.05)


def test_one_over_root_depth_tends_to_e():
    assert depth.residual_ratio(10**6, 1.0, 1e-3) == pytest.approx(math.e, rel=1e-5)


def test_a_plain_he_network_keeps_its_norms_with_the_fluctuation_of_its_width():
    """Of 400 networks of 30 layers of 128: mean 1, log-variance 5L/n, log-mean minus its half."""
    draw = np.random.default_rng(2)
    ratios = np.empty(400)
    for index in range(len(ratios)):
        x = draw.standard_normal(128)
        for _ in range(30):
            x = draw.standard_normal((128, 128)) @ relu(x) * math.sqrt(2 / 128)
        # The first layer's ReLU acts on a Gaussian like all others, so 30 layers count.
        ratios[index] = (x**2).sum() / 128
    logs = np.log(ratios)
    variance = depth.log_norm_variance(30, 128)
    assert variance == pytest.approx(1.17, abs=0.005)
    # The standard error of a variance of 400 normal values is 7 %; first order in L/n.
    assert logs.var(ddof=1) == pytest.approx(variance, rel=0.3)
    assert logs.mean() == pytest.approx(-variance / 2, abs=4 * math.sqrt(variance / 400))
    assert depth.plain_ratio(30, mean_field.gradient_factor(1.0, "relu", 2.0)) == pytest.approx(1)


@pytest.mark.parametrize("batch", [8, 32, 128])
def test_the_gradient_of_a_plain_batch_norm_network_explodes_as_told(batch):
    draw = np.random.default_rng(3)
    blocks, rates = 14, []
    for _ in range(5):
        network = Network(draw, blocks, 500, skip=0.0, norm=True)
        network.forward(draw.standard_normal((batch, 500)))
        sizes = squares(network.backward(draw.standard_normal((batch, 500))))
        # The first layers forward and backward are not yet in the stationary state.
        rates.append((sizes[4] / sizes[10]) ** (1 / 6))
    assert np.mean(rates) == pytest.approx(depth.batch_norm_factor(batch), rel=0.03)


def test_the_batch_norm_factor_for_large_batches_and_its_domain():
    assert depth.batch_norm_factor(10**8) == pytest.approx(math.pi / (math.pi - 1), rel=1e-7)
    assert depth.batch_norm_factor(128) == pytest.approx(1.480, abs=5e-4)  # Yang et al. 2019
    with pytest.raises(GradflowError, match="batch=3: must be above 3"):
        depth.batch_norm_factor(3)


@pytest.mark.parametrize("layers", [1, 2])
def test_batch_norm_residual_networks(layers):
    draw = np.random.default_rng(4)
    count, width, batch = 16, 200, 256
    ratios, shares = np.empty(count), np.empty((count, 12))
    for index in range(count):
        network = Network(draw, 12, width, skip=1.0, norm=True, layers=layers)
        # Batch norm divides by sqrt(variance): branches of second moment 1 need E[ReLU^2] = 1/2.
        network.weights *= math.sqrt(2)
        found = network.forward(draw.standard_normal((batch, width)))
        branch = squares([after - before for before, after in itertools.pairwise(found)])
        shares[index] = branch / squares(found[:-1])
        gradients = squares(network.backward(draw.standard_normal((batch, width))))
        ratios[index] = gradients[0] / gradients[-1]
    told = [depth.batch_norm_branch_share(block) for block in range(12)]
    # Means of 16: a Student t of 15 degrees beyond 6.5 is 1 in 100,000.
    errors = shares.std(axis=0, ddof=1) / math.sqrt(count)
    assert (np.abs(shares.mean(axis=0) - told) <= 6.5 * errors).all()
    expected = depth.batch_norm_residual_ratio(12, layers)
    error = ratios.std(ddof=1) / math.sqrt(count)
    finite = 12 * (1 / width + 1 / batch)  # each block's factor, to first order
    assert abs(ratios.mean() - expected) <= finite * expected + 6.5 * error


@pytest.mark.parametrize("layers", [1, 2])
def test_the_batch_norm_residual_ratio_in_closed_form(layers):
    """prod (v + k + l c) / (v + l c), by the Gamma function."""
    c = depth.BN_VARIANCE
    k = c ** (1 - layers)

    def rising(x):
        return math.lgamma(x / c + 40) - math.lgamma(x / c)

    whole = depth.batch_norm_residual_ratio(40, layers)
    assert whole == pytest.approx(math.exp(rising(1 + k) - rising(1)), rel=1e-12)
    later = depth.batch_norm_residual_ratio(39, layers, 1 + c)  # from block 1 on
    assert depth.batch_norm_residual_ratio(1, layers) * later == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("scale", [None, 1.0, 0.5])
def test_gradient_correlation_between_examples(scale):
    """Of the loss gradients by the input, for two orthogonal inputs and one cotangent."""
    draw = np.random.default_rng(5)
    found = []
    for _ in range(24):
        skip = 0.0 if scale is None else 1.0
        network = Network(draw, 5, 600, skip=skip, scale=scale or 1.0)
        x = np.linalg.qr(draw.standard_normal((600, 2)))[0].T * math.sqrt(600)
        network.forward(x)
        one, two = network.backward(np.repeat(draw.standard_normal((1, 600)), 2, axis=0))[0]
        found.append(one @ two / np.linalg.norm(one) / np.linalg.norm(two))
    expected = depth.gradient_correlation(5, branch_scale=scale)
    assert np.mean(found) == pytest.approx(expected, abs=0.02)


def test_gradient_correlation_of_known_depths():
    """Five layers by hand: correlations from the order-1 kernel, gates from the order-0 one."""
    c, expected = 0.0, 1.0
    for _ in range(5):
        angle = math.acos(c)
        expected *= 1 - angle / math.pi
        c = (math.sin(angle) + (math.pi - angle) * c) / math.pi
    assert depth.gradient_correlation(5) == pytest.approx(expected, rel=1e-12)
    assert depth.gradient_correlation(50, correlation=1.0) == pytest.approx(1)


@pytest.mark.parametrize("skip", [False, True])
def test_independent_gates(skip):
    """Scalar chains of skip + w g, w of variance 2, g open half the time: E[a b] / E[a^2]."""
    draw = np.random.default_rng(6)
    size = (1_000_000, 3)
    weights = draw.standard_normal(size) * math.sqrt(2)
    one, two = (skip + weights * (draw.random(size) < 0.5) for _ in range(2))
    products = one.prod(axis=1) * two.prod(axis=1)
    found = products.mean() / (one.prod(axis=1) ** 2).mean()
    assert found == pytest.approx(depth.independent_gates(3, skip=skip), rel=0.05)
    assert depth.independent_gates(6, skip=skip) == pytest.approx((0.75 if skip else 0.5) ** 6)


def test_path_lengths():
    assert depth.path_probability(54, 5, 17) == pytest.approx(0.00454, abs=5e-6)
    assert depth.path_probability(54, 19, 35) == pytest.approx(0.980, abs=5e-4)
    lengths = [sum(path) for path in itertools.product((0, 1), repeat=10)]
    within = sum(3 <= length <= 6 for length in lengths) / 2**10
    assert depth.path_probability(10, 3, 6) == pytest.approx(within, rel=1e-12)


def test_path_gradient_shares_by_enumeration():
    """All 2^5 paths of random linear blocks, each by itself: W's variance is 0.4 / width."""
    draw = np.random.default_rng(7)
    blocks, width = 5, 200
    totals = np.zeros(blocks + 1)
    for _ in range(4):
        weights = draw.standard_normal((blocks, width, width)) * math.sqrt(0.4 / width)
        vector = draw.standard_normal(width)
        for path in itertools.product((0, 1), repeat=blocks):
            g = vector
            for through, weight in zip(path, weights, strict=True):
                g = weight.T @ g if through else g
            totals[sum(path)] += g @ g
    shares = totals / totals.sum()
    np.testing.assert_allclose(depth.path_gradient_shares(blocks, 0.4), shares, atol=0.02)
    assert sum(depth.path_gradient_shares(54, 0.2)) == pytest.approx(1)


@pytest.mark.parametrize(
    ("function", "arguments", "told"),
    [
        (depth.residual_factor, (-1.0,), "branch_factor=-1.0"),
        (depth.residual_ratio, (0, 1.0), "blocks=0"),
        (depth.plain_ratio, (3, -1.0), "factor=-1.0"),
        (depth.batch_norm_branch_share, (-1,), "block=-1"),
        (depth.batch_norm_residual_ratio, (4, 3), "branch_layers=3: must be 1 or 2"),
        (depth.batch_norm_residual_ratio, (4, 1, 0.0), "start_variance=0.0: must be above 0"),
        (depth.gradient_correlation, (0,), "layers=0"),
        (depth.log_norm_variance, (200, 100), "width=100: must be above layers=200"),
        (depth.path_probability, (5, 3, 9), "low ... high=3 ... 9"),
        (depth.path_gradient_shares, (5, -0.1), "branch_factor=-0.1"),
    ],
)
def test_out_of_its_domain_a_function_raises(function, arguments, told):
    with pytest.raises(GradflowError) as raised:
        function(*arguments)
    assert str(raised.value).startswith(told)
