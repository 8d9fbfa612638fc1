"""Linear networks with batch norm: bounded gradients if weights are orthogonal, else not."""

from functools import cache

import numpy as np
import pandas as pd
import torch

from gradflow.acceptance.claim import (
    Basis,
    Claim,
    Sample,
    at_least,
    at_most,
    linear,
    logarithmic,
    within_share,
)
from gradflow.acceptance.measuring import (
    Floats,
    backward_growth,
    blocks_of,
    noise,
    random_mlp,
    seeds_of,
)
from gradflow.config.acceptance import AcceptanceConfig
from gradflow.networks import Network
from gradflow.theory import depth
from gradflow.training.frozen import block_inputs

WIDTH, BATCH, LAYERS, NETWORKS = 32, 64, 400, 8
FROM, TO = 60, 260  # the layers between which the gap's decay is measured


def bn_linear(blocks: int, seed: int, width: int, initialization: str) -> Network:
    """BN(W x), plain, in float64."""
    return random_mlp(
        blocks, seed, width=width, skip=False, placement="original", norm="batch",
        activation="identity", initialization=initialization,
    ).double()  # fmt: skip


@cache
def deep(config: AcceptanceConfig, initialization: str) -> list[pd.DataFrame]:
    """The blocks of 8 networks of 402 blocks, width 32, batches of 64."""
    return [
        blocks_of(
            bn_linear(LAYERS + 2, seed, WIDTH, initialization), noise(seed, BATCH).double(), seed
        )
        for seed in seeds_of(config, NETWORKS)
    ]


def growth_of(config: AcceptanceConfig, initialization: str) -> Sample:
    """The squared gradient, first over last of 400 blocks; geometric mean."""
    return logarithmic(backward_growth(deep(config, initialization), 1, LAYERS + 1))


def wide_factor(config: AcceptanceConfig, batch: int) -> Sample:
    """The squared gradient's factor per layer at width 512, Gaussian weights."""
    frames = [
        blocks_of(bn_linear(30, seed, 512, "gaussian"), noise(seed, batch).double(), seed)
        for seed in seeds_of(config, 16)
    ]
    return linear(backward_growth(frames, 8, 24) ** (1 / 16))


def gap_factor(config: AcceptanceConfig) -> Sample:
    """What a layer leaves of the isometry gap, over blocks 60 ... 260."""
    factors = []
    for seed in seeds_of(config, NETWORKS):
        network = bn_linear(TO + 2, seed, WIDTH, "orthogonal")
        with torch.no_grad():
            inputs = block_inputs(network, noise(seed, BATCH).double())
        ends = [isometry_gap(inputs[index].numpy()) for index in (FROM, TO)]
        factors.append((ends[1] / ends[0]) ** (1 / (TO - FROM)))
    return linear(factors)


def isometry_gap(x: Floats) -> float:
    """d log(tr M / d) - log det M of the covariance M of [examples, d] units; 0 if M is c I."""
    values = np.linalg.eigvalsh(np.cov(x.T, bias=True))
    ratios = values / values.mean()
    # log1p of what is left of 1: the sum of the rests is 0, and would drown the squares.
    return float(np.sum((ratios - 1) - np.log1p(ratios - 1)))


NARROW = (
    f"BN(W x), width {WIDTH}, batch {BATCH}, {NETWORKS} networks, float64; input_grad_norm^2, "
    f"first over last of {LAYERS} blocks; geometric mean"
)
SOURCE = "Meterez et al. 2024 (arXiv 2310.02012)"


def _wide(batch: int, share: float) -> Claim:
    return Claim(
        f"plain linear batch-norm network, Gaussian, batch {batch}: the squared gradient's factor "
        "per layer, (B - 2) / (B - 3)",
        "derived; Yang et al. 2019",
        "BN(W x), width 512, 16 networks, float64; input_grad_norm^2 over blocks 8 ... 24",
        within_share(depth.linear_batch_norm_factor(batch), share),
        "infinite width; at 512 units of heavy-tailed 1 / r^2 a network's factor is 1 % off",
        lambda config: wide_factor(config, batch),
        Basis.OWN,
    )


CLAIMS = (
    _wide(8, 0.02),
    _wide(12, 0.02),
    Claim(
        "linear batch-norm network, orthogonal weights: gradients bounded at any depth",
        SOURCE,
        NARROW,
        at_most(10.0),
        "what grows is the initial isometry gap alone, near 10 nats over 32 units: a factor of "
        "about 2",
        lambda config: growth_of(config, "orthogonal"),
        Basis.PUBLISHED,
    ),
    Claim(
        "the same with Gaussian weights: gradients explode with depth",
        f"{SOURCE}; Yang et al. 2019",
        NARROW,
        at_least(1e4),
        "1.016 per layer of an infinitely wide network were 700, and 32 units fluctuate as 64 "
        "examples do",
        lambda config: growth_of(config, "gaussian"),
        Basis.PUBLISHED,
    ),
    Claim(
        f"orthogonal weights, width {WIDTH}: what a layer leaves of the isometry gap, d / (d + 2)",
        f"derived; {SOURCE} bounds it",
        f"BN(W x), batch {BATCH}, {NETWORKS} networks, float64; block inputs {FROM} and {TO}",
        within_share(depth.isometry_gap_factor(WIDTH), 0.003),
        "a twentieth of what is taken away, 2 / (d + 2)",
        gap_factor,
        Basis.OWN,
    ),
)
