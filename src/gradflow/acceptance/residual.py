"""Residual networks without norm, the gradient theorem and its ledger."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor, nn

from gradflow.acceptance.claim import Band, Claim, at_most, within, within_share
from gradflow.acceptance.measuring import (
    DIGIT,
    Floats,
    backward_growth,
    blocks_of,
    forward_growth,
    noise,
    random_mlp,
    seeds_of,
    tables,
)
from gradflow.config.acceptance import AcceptanceConfig
from gradflow.networks import Network, build_network
from gradflow.statistics import Interval, t_interval
from gradflow.theory import depth

WIDTH, NETWORKS, BLOCKS = 256, 24, 22
SCALED_BLOCKS = 100
PREACTIVATION = {"placement": "full_preactivation", "depth": 20, "stages": 1, "width": 8}


@cache
def residual(config: AcceptanceConfig) -> list[pd.DataFrame]:
    """x + W ReLU(x)."""
    return [
        blocks_of(random_mlp(BLOCKS, seed, width=WIDTH), noise(seed, 16), seed)
        for seed in seeds_of(config, NETWORKS)
    ]


@cache
def scaled(config: AcceptanceConfig) -> list[pd.DataFrame]:
    """x + W ReLU(x) / sqrt(L)."""
    frames = []
    for seed in seeds_of(config, NETWORKS):
        network = random_mlp(SCALED_BLOCKS, seed, width=WIDTH, scaling="inverse_sqrt")
        frames.append(blocks_of(network, noise(seed, 16), seed))
    return frames


@cache
def two_layers(config: AcceptanceConfig) -> list[pd.DataFrame]:
    """x + W2 ReLU(W1 x): the original block without the ReLU behind its addition."""
    frames = []
    for seed in seeds_of(config, NETWORKS):
        network = random_mlp(BLOCKS, seed, width=WIDTH, layers=2, placement="original")
        for block in network.blocks:
            block.after = nn.Identity()
        frames.append(blocks_of(network, noise(seed, 16), seed))
    return frames


def a_block(ratios: Floats) -> Interval:
    return t_interval(ratios ** (1 / (BLOCKS - 2)))


def convolutional(seed: int, **options: Any) -> Network:
    """A network of one stage, so that every shortcut is the identity, in float64."""
    return build_network("cifar_resnet", image_shape=DIGIT, seed=seed, **options).double()


def skip_over_next(config: AcceptanceConfig, placement: str) -> Floats:
    """[networks, blocks]: norm of the skip part at a block's input over that at its output."""
    rows = []
    for seed in seeds_of(config, 8):
        network = convolutional(seed, **{**PREACTIVATION, "placement": placement})
        found = blocks_of(network, noise(seed, 16).double(), seed)
        rows.append(found.skip_grad_norm[:-1].to_numpy() / found.input_grad_norm[1:].to_numpy())
    return np.array(rows)


@contextmanager
def cut(path: nn.Module) -> Iterator[None]:
    """Let no gradient back through a module."""
    handle = path.register_forward_hook(lambda module, inputs, output: output.detach())
    try:
        yield
    finally:
        handle.remove()


def ledger_error(config: AcceptanceConfig) -> Interval:
    """The largest relative difference, over blocks, between a part of the gradient and the
    gradient with the other path cut; and between the stem's gradient and the sum over both."""
    [seed] = seeds_of(config, 1)
    network = convolutional(seed, depth=14, width=4)  # three stages, a ReLU after each addition
    images = noise(seed, 8).double()

    def found() -> tuple[pd.DataFrame, Tensor]:
        network.zero_grad()
        blocks = blocks_of(network, images, seed)
        gradient = network.stem.get_parameter("conv1.weight").grad
        assert gradient is not None
        return blocks, gradient.clone()

    whole, stem = found()
    errors, parts = [], []
    for index, block in enumerate(network.blocks):
        for part, other in (("skip", "branch"), ("branch", "shortcut")):
            with cut(block.get_submodule(other)):
                alone, gradient = found()
            expected = alone.input_grad_norm[index]
            errors.append(abs(whole[f"{part}_grad_norm"][index] / expected - 1))
            parts.append(gradient)
        errors.append(float((parts[-2] + parts[-1] - stem).norm() / stem.norm()))
    return t_interval([max(errors)])


def skip_share(config: AcceptanceConfig) -> Interval:
    return t_interval([float(f.skip_share[1:-1].mean()) for f in residual(config)])


def over_shortcuts(config: AcceptanceConfig, scale: float) -> Interval:
    """What comes back over shortcuts alone, over the gradient at the last block's output."""
    [seed] = seeds_of(config, 1)
    network = convolutional(seed, **PREACTIVATION, shortcut_scale=scale)
    found = tables(network, noise(seed, 8).double(), seed, details=True)
    last = float(found["blocks"].input_grad_norm.iloc[-1])
    return t_interval([float(found["network_details"].path_grad_norm[0]) / last])


def unevenness(config: AcceptanceConfig) -> Interval:
    """The largest |ratio - 1| of gradients at two blocks of one stage, over both kinds of
    zero branches: SkipInit's factor, and a zero gain of the last batch norm."""
    kinds: tuple[dict[str, Any], ...] = (
        {"scaling": "rezero", "placement": "full_preactivation"},
        {"zero_last": True, "placement": "activation_before_addition"},
    )
    [seed] = seeds_of(config, 1)
    found = []
    for kind in kinds:
        network = convolutional(seed, depth=38, width=8, **kind)
        norms = blocks_of(network, noise(seed, 8).double(), seed).input_grad_norm.to_numpy()
        for stage in (norms[:7], norms[7:13], norms[13:]):
            found.append(stage.max() / stage.min() - 1)
    return t_interval([max(found)])


def between_stages(config: AcceptanceConfig) -> Interval:
    values = []
    for seed in seeds_of(config, 16):
        network = convolutional(
            seed, depth=20, width=16, zero_last=True, placement="activation_before_addition"
        )
        norms = blocks_of(network, noise(seed, 16).double(), seed).input_grad_norm
        values += [norms[3] / norms[4]]
    return t_interval(values)


HOW = f"width {WIDTH}, {NETWORKS} networks, batch 16; blocks table, from block 1 on"
BOTH = "forward (input_rms^2)", "backward (input_grad_norm^2)"
WIDE = "3 %: fluctuation at width 256 is near 2 % a block in one network, 0.4 % in the mean"
THEOREM = "He et al. 2016, eq. 5"

CLAIMS = (
    Claim(
        "x + W ReLU(x), He: the mean square's factor a block, forward",
        "Hanin and Rolnick 2018",
        f"{HOW}, input_rms^2, {BLOCKS - 2} blocks",
        within_share(depth.residual_factor(1), 0.03),
        WIDE,
        lambda config: a_block(forward_growth(residual(config), 1, BLOCKS - 1)),
    ),
    Claim(
        "x + W ReLU(x), He: the squared gradient's factor a block, backward",
        "Hanin and Rolnick 2018",
        f"{HOW}, input_grad_norm^2, {BLOCKS - 2} blocks",
        within_share(depth.residual_factor(1), 0.03),
        WIDE,
        lambda config: a_block(backward_growth(residual(config), 1, BLOCKS - 1)),
    ),
    Claim(
        f"the same, branch over sqrt(L), L = {SCALED_BLOCKS}: over L - 2 blocks forward, near e",
        "derived; Hanin and Rolnick 2018",
        f"{HOW}, input_rms^2",
        within_share(depth.residual_ratio(SCALED_BLOCKS - 2, 1, SCALED_BLOCKS**-0.5), 0.1),
        "networks of width 256 differ by 8 %, their mean by 2 %; finite width",
        lambda config: t_interval(forward_growth(scaled(config), 1, SCALED_BLOCKS - 1)),
    ),
    Claim(
        f"the same, branch over sqrt(L), L = {SCALED_BLOCKS}: over L - 2 blocks backward, near e",
        "derived; Hanin and Rolnick 2018",
        f"{HOW}, input_grad_norm^2",
        within_share(depth.residual_ratio(SCALED_BLOCKS - 2, 1, SCALED_BLOCKS**-0.5), 0.1),
        "networks of width 256 differ by 8 %, their mean by 2 %; finite width",
        lambda config: t_interval(backward_growth(scaled(config), 1, SCALED_BLOCKS - 1)),
    ),
    Claim(
        "x + W2 ReLU(W1 x), both He: the mean square's factor a block, forward",
        "Hanin and Rolnick 2018",
        f"{HOW}, input_rms^2; original placement, its last ReLU replaced by the identity",
        within_share(depth.residual_factor(2), 0.03),
        WIDE,
        lambda config: a_block(forward_growth(two_layers(config), 1, BLOCKS - 1)),
    ),
    Claim(
        "x + W2 ReLU(W1 x), both He: the squared gradient's factor a block, backward",
        "Hanin and Rolnick 2018",
        f"{HOW}, input_grad_norm^2; original placement, its last ReLU replaced by the identity",
        within_share(depth.residual_factor(2), 0.03),
        WIDE,
        lambda config: a_block(backward_growth(two_layers(config), 1, BLOCKS - 1)),
    ),
    Claim(
        "gradient theorem, pre-activation: the skip part is the gradient at the next block's "
        "input (largest difference of their norms' ratio from 1)",
        THEOREM,
        "cifar_resnet of 9 blocks, one stage, batch norm, float64, 8 networks, all blocks; "
        "skip_grad_norm over the next input_grad_norm",
        at_most(1e-6),
        "exact; the blocks table keeps seven digits",
        lambda config: t_interval(
            [float(abs(skip_over_next(config, "full_preactivation") - 1).max())]
        ),
    ),
    Claim(
        "gradient theorem, a ReLU after the addition: approximate, the same ratio",
        "He et al. 2016, section 2: f must be the identity; derived",
        "the same networks in the original placement, mean over blocks",
        Band(0.5**0.5, 0.5**0.5, 0.999, "to 0.999"),
        "the ReLU stops what meets a negative sum: something, but at most half of the square, as "
        "the shortcut's part of the sum is positive",
        lambda config: t_interval(skip_over_next(config, "original").mean(axis=1)),
    ),
    Claim(
        "the ledger's parts are the gradients with the other path cut, and add up (largest "
        "relative difference)",
        "definition; He et al. 2016, eq. 5",
        "cifar_resnet of depth 14, three stages, original placement, float64; every block: "
        "skip_grad_norm and branch_grad_norm against input_grad_norm with the branch, or the "
        "shortcut, detached; both passes' stem gradients summed against the whole one",
        at_most(1e-6),
        "exact; the blocks table keeps seven digits",
        ledger_error,
    ),
    Claim(
        "x + W ReLU(x), He: the share of a block's gradient that came over the skip",
        "derived: branch and skip parts are uncorrelated and equal",
        f"{HOW}, skip_share, mean over blocks",
        within(0.5, 0.01),
        "a block's share has a standard deviation near 0.03, the mean of 20 blocks and 24 "
        "networks less than 0.005",
        skip_share,
    ),
    Claim(
        "over shortcuts alone, identity: the gradient of the last block comes back undiminished",
        THEOREM,
        "cifar_resnet of 9 blocks, one stage, full pre-activation, float64; path_grad_norm over "
        "the last input_grad_norm",
        within(1.0, 1e-6),
        "exact; the tables keep seven digits",
        lambda config: over_shortcuts(config, 1.0),
    ),
    Claim(
        "over shortcuts alone, each times 0.5: 0.5^9 of it",
        "He et al. 2016, eq. 8",
        "the same with shortcut_scale=0.5",
        within_share(0.5**9, 1e-6),
        "exact; the tables keep seven digits",
        lambda config: over_shortcuts(config, 0.5),
    ),
    Claim(
        "branches that start at zero: the gradient is equal at every block of a stage (largest "
        "difference of a ratio from 1)",
        "Bachlechner et al. 2021; Goyal et al. 2017",
        "cifar_resnet of depth 38, pre-activation with SkipInit, and with batch-norm gain 0 "
        "before the addition; float64; input_grad_norm",
        at_most(1e-6),
        "exact; the blocks table keeps seven digits",
        unevenness,
    ),
    Claim(
        "the same between stages: option A keeps half of the squared gradient",
        "derived: half of the channels are padding",
        "depth 20, width 16, batch-norm gain 0, 16 networks; input_grad_norm of block 3 over "
        "block 4 (under SkipInit the padding stays 0, has no gradient, and nothing is lost)",
        within_share(0.5**0.5, 0.1),
        "16 of 32 channels' share of a norm: some per cent in one network",
        between_stages,
    ),
)
