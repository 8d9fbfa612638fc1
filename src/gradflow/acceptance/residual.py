"""Residual networks without norm: what a block does to signals and gradients."""

from functools import cache

import pandas as pd
from torch import nn

from gradflow.acceptance.claim import Basis, Claim, Sample, linear, within, within_share
from gradflow.acceptance.measuring import (
    Floats,
    backward_growth,
    blocks_of,
    forward_growth,
    noise,
    random_mlp,
    seeds_of,
)
from gradflow.config.acceptance import AcceptanceConfig
from gradflow.theory import depth

WIDTH, NETWORKS, BLOCKS = 256, 24, 22
SCALED_BLOCKS = 100


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


def a_block(ratios: Floats) -> Sample:
    """The factor per block, of ratios over all but two of the blocks."""
    return linear(ratios ** (1 / (BLOCKS - 2)))


def skip_share(config: AcceptanceConfig) -> Sample:
    """The mean of `skip_share` over the blocks between the first and the last."""
    return linear([float(f.skip_share[1:-1].mean()) for f in residual(config)])


HOW = f"width {WIDTH}, {NETWORKS} networks, batch 16; blocks table, from block 1 on"
WIDE = "3 %: fluctuation at width 256 is near 2 % per block in one network, 0.4 % in the mean"

CLAIMS = (
    Claim(
        "x + W ReLU(x), He: the mean square's factor per block, forward",
        "Hanin and Rolnick 2018",
        f"{HOW}, input_rms^2, {BLOCKS - 2} blocks",
        within_share(depth.residual_factor(1), 0.03),
        WIDE,
        lambda config: a_block(forward_growth(residual(config), 1, BLOCKS - 1)),
        Basis.PUBLISHED,
    ),
    Claim(
        "x + W ReLU(x), He: the squared gradient's factor per block, backward",
        "Hanin and Rolnick 2018",
        f"{HOW}, input_grad_norm^2, {BLOCKS - 2} blocks",
        within_share(depth.residual_factor(1), 0.03),
        WIDE,
        lambda config: a_block(backward_growth(residual(config), 1, BLOCKS - 1)),
        Basis.PUBLISHED,
    ),
    Claim(
        f"the same, branch over sqrt(L), L = {SCALED_BLOCKS}: over L - 2 blocks forward, near e",
        "derived; Hanin and Rolnick 2018",
        f"{HOW}, input_rms^2",
        within_share(depth.residual_ratio(SCALED_BLOCKS - 2, 1, SCALED_BLOCKS**-0.5), 0.1),
        "networks of width 256 differ by 8 %, their mean by 2 %; finite width",
        lambda config: linear(forward_growth(scaled(config), 1, SCALED_BLOCKS - 1)),
        Basis.OWN,
    ),
    Claim(
        f"the same, branch over sqrt(L), L = {SCALED_BLOCKS}: over L - 2 blocks backward, near e",
        "derived; Hanin and Rolnick 2018",
        f"{HOW}, input_grad_norm^2",
        within_share(depth.residual_ratio(SCALED_BLOCKS - 2, 1, SCALED_BLOCKS**-0.5), 0.1),
        "networks of width 256 differ by 8 %, their mean by 2 %; finite width",
        lambda config: linear(backward_growth(scaled(config), 1, SCALED_BLOCKS - 1)),
        Basis.OWN,
    ),
    Claim(
        "x + W2 ReLU(W1 x), both He: the mean square's factor per block, forward",
        "Hanin and Rolnick 2018",
        f"{HOW}, input_rms^2; original placement, its last ReLU replaced by the identity",
        within_share(depth.residual_factor(2), 0.03),
        WIDE,
        lambda config: a_block(forward_growth(two_layers(config), 1, BLOCKS - 1)),
        Basis.OWN,
    ),
    Claim(
        "x + W2 ReLU(W1 x), both He: the squared gradient's factor per block, backward",
        "Hanin and Rolnick 2018",
        f"{HOW}, input_grad_norm^2; original placement, its last ReLU replaced by the identity",
        within_share(depth.residual_factor(2), 0.03),
        WIDE,
        lambda config: a_block(backward_growth(two_layers(config), 1, BLOCKS - 1)),
        Basis.OWN,
    ),
    Claim(
        "x + W ReLU(x), He: the share of a block's gradient that came over the skip",
        "derived: branch and skip parts are uncorrelated and equal",
        f"{HOW}, skip_share, mean over blocks",
        within(0.5, 0.01),
        "a block's share has a standard deviation near 0.03, the mean of 20 blocks and 24 "
        "networks less than 0.005",
        skip_share,
        Basis.OWN,
    ),
)
