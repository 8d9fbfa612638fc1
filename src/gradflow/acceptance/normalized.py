"""Batch norm: plain networks explode toward the input, pre-activation ones do not."""

from functools import cache, partial

import numpy as np
import pandas as pd
from torch import nn

from gradflow.acceptance.claim import (
    Basis,
    Claim,
    Sample,
    at_least,
    at_most,
    linear,
    logarithmic,
    within,
    within_share,
)
from gradflow.acceptance.measuring import (
    backward_growth,
    blocks_of,
    end_ratios,
    first_seed,
    noise,
    random_mlp,
    seeds_of,
    tables,
)
from gradflow.config.acceptance import AcceptanceConfig
from gradflow.networks import build_network
from gradflow.theory import depth

BLOCKS = 40
PREACTIVATION_NETWORKS = {1: 24, 2: 8}  # by the layers of a branch
START = 2 * depth.BN_VARIANCE  # of block 1's input: a projection and a branch, each of c


def plain_factor(config: AcceptanceConfig, batch: int, width: int, networks: int) -> Sample:
    """The squared gradient's factor per layer, in plain batch-norm MLPs."""
    frames = []
    for seed in seeds_of(config, networks):
        network = random_mlp(30, seed, width=width, skip=False, placement="original", norm="batch")
        frames.append(blocks_of(network, noise(seed, batch), seed))
    return linear(backward_growth(frames, 8, 24) ** (1 / 16))


def convolutional_factor(config: AcceptanceConfig, side: int) -> Sample:
    """The squared gradient's factor per layer, in plain batch-norm convolutions."""
    frames = []
    for seed in seeds_of(config, 8):
        shape = (3, side, side)
        network = build_network(
            "cifar_resnet", image_shape=shape, depth=34, stages=1, width=32, skip=False, seed=seed
        )
        frames.append(blocks_of(network, noise(seed, 64, shape), seed))
    return linear(backward_growth(frames, 2, 14) ** (1 / 24))  # two layers per block


@cache
def plain_deep(config: AcceptanceConfig) -> list[pd.DataFrame]:
    """Plain networks of depth 56 with batch norm."""
    return [
        blocks_of(
            build_network(
                "cifar_resnet", image_shape=(1, 8, 8), depth=56, width=8, skip=False, seed=seed
            ),
            noise(seed, 64),
            seed,
        )
        for seed in seeds_of(config, 8)
    ]


def exploding(config: AcceptanceConfig) -> Sample:
    """The end-to-end ratio of plain networks of depth 56, geometric mean."""
    return logarithmic(end_ratios(plain_deep(config)))


def forward_variance(config: AcceptanceConfig) -> Sample:
    """The mean square of the blocks' inputs in plain networks of depth 56."""
    return linear([float((f.input_rms[:-1] ** 2).mean()) for f in plain_deep(config)])


@cache
def preactivation(config: AcceptanceConfig, layers: int) -> list[pd.DataFrame]:
    """x + W ReLU(BN(x)), or of two such layers; batch 1024."""
    frames = []
    for seed in seeds_of(config, PREACTIVATION_NETWORKS[layers]):
        network = random_mlp(BLOCKS + 2, seed, width=256, layers=layers, norm="batch")
        frames.append(blocks_of(network, noise(seed, 1024), seed))
    return frames


def branch_share(config: AcceptanceConfig) -> Sample:
    """The branch's mean square over its input's, times the block's number."""
    part = slice(1, BLOCKS + 2)
    shares = []
    for frame in preactivation(config, 1):
        ratio = (frame.branch_rms / frame.input_rms)[part] ** 2
        shares.append(float((ratio * (frame.block_index[part] + 1)).mean()))
    return linear(shares)


def scale_invariance(config: AcceptanceConfig) -> Sample:
    """The largest |cosine| of a convolution's weight and gradient, before batch norm."""
    seed = first_seed(config)
    network = build_network("cifar_resnet", image_shape=(1, 8, 8), depth=20, width=8, seed=seed)
    network.double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-12
    tables(network, noise(seed, 16).double(), seed)
    cosines = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.weight.grad is not None:
            weight, gradient = module.weight.detach(), module.weight.grad
            cosines.append(float((weight * gradient).sum() / weight.norm() / gradient.norm()))
    return linear([max(map(abs, cosines))])


PLAIN = "ReLU(BN(W x)), 30 blocks; input_grad_norm^2 over blocks 8 ... 24, per layer"
CONVOLUTIONS = (
    "plain cifar_resnet of one stage, depth 34, width 32, batch 64, 8 networks; input_grad_norm^2 "
    "over blocks 2 ... 14, a layer"
)
PRE = "width 256, batch 1024, 24 networks (8 of two layers); blocks table, from block 1 on"
RESIDUAL_REASON = (
    "the form is of large batches: 1024 raise it by about 2 %; width 256 and 40 blocks"
)


def _residual(layers: int) -> Claim:
    standard = depth.batch_norm_residual_ratio(BLOCKS, layers)
    return Claim(
        f"pre-activation batch-norm network, {layers}-layer branch: squared gradient, first over "
        f"last of {BLOCKS} blocks ({standard:.0f} from variance 1; here block 1's input has "
        f"{START:.2f})",
        "derived (theory.depth.batch_norm_residual_ratio)",
        f"{PRE}, input_grad_norm^2",
        within_share(depth.batch_norm_residual_ratio(BLOCKS, layers, START), 0.15),
        RESIDUAL_REASON,
        lambda config: linear(backward_growth(preactivation(config, layers), 1, BLOCKS + 1)),
        Basis.OWN,
    )


CLAIMS = (
    Claim(
        "plain batch-norm network, batch 128: the squared gradient's factor per layer",
        "Yang et al. 2019, theorem 8",
        f"{PLAIN}; width 512, 8 networks",
        within_share(1.480, 0.02),
        "finite width: a fourth of the batch's 1/B terms; sampling below 0.3 %",
        lambda config: plain_factor(config, 128, 512, 8),
        Basis.PUBLISHED,
    ),
    Claim(
        "plain batch-norm network, large batch: pi / (pi - 1)",
        "Yang et al. 2019, theorem 8",
        f"{PLAIN}; width 1024, batch 512, 4 networks",
        within_share(np.pi / (np.pi - 1), 0.03),
        "infinite width comes before the large batch in the theorem; here they are 2 to 1",
        lambda config: plain_factor(config, 512, 1024, 4),
        Basis.PUBLISHED,
    ),
    *(
        Claim(
            f"plain batch-norm convolutions with zero padding, {side}x{side}: the squared "
            "gradient's factor per layer",
            "Monte Carlo only, two digits",
            f"{CONVOLUTIONS}; {side}x{side} noise",
            within(expected, 0.03),
            "two digits were published, and 0.01 for the eight networks' mean",
            partial(convolutional_factor, side=side),
            Basis.OWN,
        )
        for side, expected in ((8, 1.41), (16, 1.43))
    ),
    Claim(
        "a deep plain batch-norm network's gradient explodes toward the input: end-to-end ratio",
        "Yang et al. 2019; against the textbook's vanishing",
        "plain cifar_resnet, depth 56, width 8, batch 64, 8 networks of noise; input_grad_norm; "
        "geometric mean",
        at_least(100.0),
        "1.4^(54/2) = 8,800 were the stages one; vanishing or healthy would be 1 or less",
        exploding,
        Basis.PUBLISHED,
    ),
    Claim(
        "and its signals do not vanish: mean square of a block's input, 27 blocks",
        "He et al. 2015, section 4.1 (batch norm keeps variances)",
        "the same networks; input_rms^2, mean over blocks (single ones are up to 20 % off)",
        within_share(0.5, 0.1),
        "E ReLU(z)^2 = 1/2; the 8 to 32 channels of a block are not quite Gaussian",
        forward_variance,
        Basis.FITTED,
    ),
    Claim(
        "<W, dL/dW> = 0 under a batch norm that follows (largest cosine of the layers)",
        "derived (scale invariance)",
        "cifar_resnet of depth 20, float64, eps = 1e-12; every convolution's weight and gradient",
        at_most(1e-9),
        "exact as eps goes to 0; it is in proportion to eps",
        scale_invariance,
        Basis.IDENTITY,
    ),
    Claim(
        "pre-activation batch-norm network: second moment of branch over skip, times l + 1",
        "De and Smith 2020",
        f"{PRE}, branch_rms and input_rms, mean over blocks 1 ... {BLOCKS + 1}",
        within_share(1.0, 0.03),
        "a network differs by 3 %, as what its first blocks add stays in every later skip; the "
        "mean of 24 by 0.6 %",
        branch_share,
        Basis.FITTED,
    ),
    _residual(1),
    _residual(2),
)
