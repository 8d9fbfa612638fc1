"""What depth does to norms and gradients of random plain and residual networks.

Factors are for squared norms. All hold at initialisation, in expectation, for wide
networks unless a function says otherwise. Layers and blocks are integers up to 1,000,000; an
argument outside of its domain, of another type, or a result above 1.8e308 raises a GradflowError.
"""

import math

import numpy as np
from scipy.stats import binom

from gradflow.theory.domain import count, real, representable, require
from gradflow.theory.mean_field import relu_correlation, relu_gate_correlation

BN_VARIANCE = (np.pi - 1) / np.pi
"""Variance over mean square of ReLU(z), z standard normal, as batch norm sees it."""


def residual_factor(
    branch_factor: float, branch_scale: float = 1.0, shortcut_scale: float = 1.0
) -> float:
    """shortcut_scale^2 + branch_scale^2 branch_factor: of y = s x + b F(x), a block.

    Forward for |y|^2 / |x|^2 and backward for the gradients, as branch and shortcut are
    uncorrelated for independent weights of mean 0 (Hanin and Rolnick 2018).

    Args:
        branch_factor: of F alone: 1 for W ReLU(x), 2 for W2 ReLU(W1 x), with He weights.
    """
    factor = real(branch_factor, "branch_factor", "at least 0", low=0)
    branch, shortcut = real(branch_scale, "branch_scale"), real(shortcut_scale, "shortcut_scale")
    return representable(
        shortcut * shortcut + branch * branch * factor,
        f"residual_factor of {branch_factor=}, {branch_scale=}, {shortcut_scale=}",
    )


def residual_ratio(
    blocks: int, branch_factor: float, branch_scale: float = 1.0, shortcut_scale: float = 1.0
) -> float:
    """`residual_factor` to the power of the blocks: input to output, or head to first block.

    With branch_scale = 1/sqrt(blocks) and branch_factor = 1 it tends to e.
    """
    blocks = count(blocks, "blocks")
    return _power(residual_factor(branch_factor, branch_scale, shortcut_scale), blocks)


def plain_ratio(layers: int, factor: float) -> float:
    """factor^layers; the factor is chi_1, `mean_field.gradient_factor` (1 for He and ReLU)."""
    return _power(real(factor, "factor", "at least 0", low=0), count(layers, "layers"))


def batch_norm_factor(batch: int) -> float:
    """The squared gradient's growth toward the input, a layer ReLU(BN(W x)), plain.

    B T / (s (B - 1) (B - 3)), with r = -1/(B - 1), J of `relu_correlation`,
    s = (1 - J(r)) / 2 and

        T = (B-1)^2 / 2B + (B-1)/B (1/4 + arcsin(r) / 2pi) - (B-1) / 2B + (B-1) J(r) / 2B

    For a batch that is symmetric under exchange of examples, fully connected, of infinite
    width and without epsilon, as in Yang et al. 2019, Theorem 8; here derived by hand: a
    normalised neuron is uniform on a sphere of B - 1 dimensions, its radius independent.
    It tends to pi / (pi - 1) = 1.467 for large batches.

    Domain: batch > 3; with fewer examples the expectation is infinite.
    """
    B = real(batch, "batch", "above 3: for fewer the expectation is infinite", above=3)  # noqa: N806
    r = -1 / (B - 1)
    kernel = relu_correlation(r)
    both = 0.25 + np.arcsin(r) / (2 * np.pi)  # P(two examples' gates are open)
    rest = (B - 1) / B  # products of two large batches would overflow
    spread = rest * (B - 1) / 2 + rest * both
    along = rest / 2 - rest * kernel / 2  # what the normalisation takes out
    return float((spread - along) / (B - 3) / ((1 - kernel) / 2 * rest))


def linear_batch_norm_factor(batch: int) -> float:
    """(B - 2) / (B - 3): the squared gradient's growth toward the input, a layer BN(W x), plain.

    As `batch_norm_factor`, without an activation: a normalized neuron's Jacobian is B / r^2 times
    a projection that keeps B - 2 of B - 1 directions, and r^2 is chi-squared of B - 1 degrees.
    Gaussian weights, infinite width; derived here, after Yang et al. 2019.
    """
    B = real(batch, "batch", "above 3: for fewer the expectation is infinite", above=3)  # noqa: N806
    return (B - 2) / (B - 3)


def isometry_gap_factor(width: int) -> float:
    """d / (d + 2): what a layer BN(W x) leaves of a small isometry gap, W orthogonal of width d.

    The gap d log(tr M / d) - log det M of the units' covariance M is half the squared distance
    from the identity; a random rotation brings 2 / (d + 2) of it to the diagonal, which the norm
    removes. Gradients grow while a gap is left, so in all by a bounded factor (Meterez et al.
    2024, who bound the rate; this value is derived here). Domain: batches above the width.
    """
    d = count(width, "width")
    return d / (d + 2)


def update_growth(layers: int) -> float:
    """L^2 + L (L - 1) (2 L - 1) / 3, about 2 L^3 / 3: squared change of the last pre-activations.

    After one step of gradient descent on all of L layers W ReLU(x), in units of a single layer's
    change: sum over pairs of layers of 1 + 2 m, m layers being behind the later of the two. So the
    largest useful rate falls as L^(-3/2) (Jelassi et al. 2023, arXiv 2305.07810); the sum is
    derived here, for He weights and infinite width.
    """
    L = count(layers, "layers")  # noqa: N806
    return L * L + L * (L - 1) * (2 * L - 1) / 3


def residual_update_growth(blocks: int) -> float:
    """As `update_growth`, of L - 1 blocks x + W ReLU(x) / sqrt(L) of L: it tends to 5 e^2 / 3.

    a^(2 L - 4) / L^2 (N^2 + N (N - 1) (2 N - 1) / (3 L a)), a = 1 + 1 / L, N = L - 1. The largest
    useful rate does not depend on depth once (1 + 1 / L)^L is near e (Yang et al. 2023, arXiv
    2310.02244); the sum is derived here.
    """
    L = count(blocks, "blocks", low=2)  # noqa: N806
    a, n = 1 + 1 / L, L - 1
    return a ** (2 * L - 4) / L**2 * (n * n + n * (n - 1) * (2 * n - 1) / (3 * L * a))


def batch_norm_branch_share(block: int) -> float:
    """1 / (block + 1): second moment of the branch over that of the shortcut.

    Pre-activation batch-norm residual network, blocks counted from 0: every branch gives
    second moment 1, so the shortcut carries block + 1 (De and Smith 2020).
    """
    return 1 / (count(block, "block", low=0) + 1)


def batch_norm_residual_ratio(
    blocks: int, branch_layers: int = 1, start_variance: float = 1.0
) -> float:
    """prod_l 1 + k / (v + l c), l = 0 ... blocks-1: squared gradient, first block over last.

    Pre-activation batch-norm residual network with large batches; c = (pi - 1) / pi is the
    growth of the shortcut's variance by a block, k = c^-(layers - 1) the branch's factor.
    Derived here.

    Args:
        branch_layers: weighted layers of a branch, each behind a batch norm and a ReLU: 1 or 2.
        start_variance: v, of the first block's input, where a branch adds c.
    """
    blocks = count(blocks, "blocks")
    start = real(start_variance, "start_variance", "above 0", above=0)
    is_known = type(branch_layers) is int and branch_layers in (1, 2)
    require(is_known, "branch_layers", branch_layers, "1 or 2")
    k = 1 / BN_VARIANCE ** (branch_layers - 1)
    with np.errstate(over="ignore"):
        product = np.prod(1 + k / (start + np.arange(blocks) * BN_VARIANCE))
    return representable(product, f"batch_norm_residual_ratio of {blocks=}, {start_variance=}")


def gradient_correlation(
    layers: int, correlation: float = 0.0, branch_scale: float | None = None
) -> float:
    """Correlation between two examples of the loss gradients by the input, He ReLU network.

    Plain: prod_l k(c_l) with c_{l+1} = J(c_l). Residual, x + b W ReLU(x): the same with
    every step mixed with the identity, (c + b^2 J(c)) / (1 + b^2), and likewise k. J and k
    are the arc-cosine kernels of order 1 and 0. (The 2^-L and (3/4)^L of Balduzzi et al. 2017
    assume independent gates: `independent_gates`.)

    Args:
        correlation: of the inputs; 0 for orthogonal ones.
        branch_scale: b of a residual network; None: a plain one.
    """
    layers, product = count(layers, "layers"), 1.0
    c = real(correlation, "correlation", "from -1 to 1", low=-1, high=1)
    branch = 1.0  # its share of a layer's variance
    if branch_scale is not None:
        scale = abs(real(branch_scale, "branch_scale", "None or a finite number"))
        branch = (scale / math.hypot(1, scale)) ** 2
    for _ in range(layers):
        kernel, gates = relu_correlation(c), relu_gate_correlation(c)
        c = min(1.0, (1 - branch) * c + branch * kernel)
        product *= 1 - branch + branch * gates
    return product


def independent_gates(layers: int, *, skip: bool) -> float:
    """2^-L, or (3/4)^L with skips: gradient correlation if gates were independent.

    Balduzzi et al. 2017. An assumption that real networks without batch
    norm do not meet: compare `gradient_correlation`.
    """
    require(type(skip) is bool, "skip", skip, "True or False")
    return _power(0.75 if skip else 0.5, count(layers, "layers"))


def log_norm_variance(layers: int, width: int) -> float:
    """5 layers / width: variance of the log of squared norms, He ReLU network of finite width.

    Its mean is minus half of it, so that the mean of the squared norm itself stays 1. (Hanin
    and Nica 2020, to first order; derived and simulated here.)

    Domain: layers below width, where the first order holds.
    """
    layers, size = count(layers, "layers"), count(width, "width", high=10**15)
    require(size > layers, "width", width, f"above layers={layers}: a first-order result")
    return 5 * layers / size


def path_probability(blocks: int, low: int, high: int) -> float:
    """P(low <= length <= high) of a path drawn evenly from all 2^blocks: binomial(blocks, 1/2).

    A path goes through a branch or round it at every block (Veit et al. 2016).
    """
    blocks = count(blocks, "blocks")
    low, high = count(low, "low", low=0), count(high, "high", low=0)
    require(0 <= low <= high <= blocks, "low ... high", f"{low} ... {high}", f"in 0 ... {blocks}")
    # A difference of cumulative probabilities would lose the long paths' to rounding.
    return float(binom.pmf(np.arange(low, high + 1), blocks, 0.5).sum())


def path_gradient_shares(blocks: int, branch_factor: float) -> list[float]:
    """Share of the squared gradient that came back over paths of length 0 ... blocks.

    binomial(blocks, branch_factor / (1 + branch_factor)): paths of length k carry
    branch_factor^k each, and different paths are uncorrelated (independent weights, so at
    initialisation). Long paths are many, and faint where branch_factor < 1: Veit et al.
    2016.
    """
    blocks = count(blocks, "blocks")
    factor = real(branch_factor, "branch_factor", "at least 0", low=0)
    share = factor / (1 + factor)
    return [float(p) for p in binom.pmf(np.arange(blocks + 1), blocks, share)]


def _power(factor: float, exponent: int) -> float:
    """factor^exponent; what is below the smallest float64 is 0."""
    try:
        return float(factor**exponent)
    except OverflowError:
        return representable(math.inf, f"{factor:g} to the power of {exponent}")
