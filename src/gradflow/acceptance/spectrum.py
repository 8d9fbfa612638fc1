"""Dynamical isometry, and the gradient by the length of its paths."""

from functools import cache
from typing import Any

import numpy as np
import torch

from gradflow.acceptance.claim import Basis, Claim, Sample, at_most, linear, within
from gradflow.acceptance.measuring import DIGIT, Floats, first_seed, noise, random_mlp, seeds_of
from gradflow.config.acceptance import AcceptanceConfig
from gradflow.core.seeds import seeded
from gradflow.diagnostics.jacobian import spectrum
from gradflow.diagnostics.paths import gradients_by_length
from gradflow.networks import build_network
from gradflow.networks.blocks import Block
from gradflow.theory import depth
from gradflow.training.frozen import block_inputs

DEPTHS = (12, 52, 202)
BLOCKS = 54  # of a residual network of 110 layers


def from_isometry(config: AcceptanceConfig, **options: Any) -> Sample:
    """The largest |singular value - 1| of whole networks, 64 pixels to 64 outputs, float64."""
    seed = first_seed(config)
    worst = []
    for size in DEPTHS:
        network = build_network(
            "mlp", image_shape=DIGIT, outputs=64, depth=size, layers=1, skip=False,
            placement="full_preactivation", seed=seed, **options,
        ).double()  # fmt: skip
        found = spectrum(network, noise(seed, 1)[0].double())
        assert found.is_whole
        worst.append(float(abs(found.values - 1).max()))
    return linear([max(worst)])


@cache
def shares_by_length(config: AcceptanceConfig, branch_scale: float) -> Floats:
    """[networks, lengths]: the share of the squared gradient that came back over paths of each
    length, 0 ... 54; x + b W ReLU(x), block 0 (whose skip is a projection) left out."""
    rows = []
    for seed in seeds_of(config, 12):
        network = random_mlp(BLOCKS + 1, seed, width=128, branch_scale=branch_scale)
        with torch.no_grad():
            _, *inputs, last = block_inputs(network, noise(seed, 4))
        blocks = [block for block in network.blocks if isinstance(block, Block)][1:]
        start = torch.randn(last.shape, generator=seeded(seed, "acceptance functional"))
        sums = gradients_by_length(blocks, inputs, start)
        squares = np.array([float(sums[length].square().sum()) for length in range(BLOCKS + 1)])
        rows.append(squares / squares.sum())
    return np.array(rows)


def share_within(config: AcceptanceConfig, low: int, high: int) -> Sample:
    """The share of the squared gradient on paths of `low` to `high` branches."""
    return linear(shares_by_length(config, 1.0)[:, low : high + 1].sum(axis=1))


def mean_length(config: AcceptanceConfig) -> Sample:
    """The mean number of branches on a path, weighted by its squared gradient."""
    return linear(shares_by_length(config, FAINT**0.5) @ np.arange(BLOCKS + 1))


def _isometry(name: str, source: str, width: int, **options: Any) -> Claim:
    return Claim(
        f"{name}: all singular values are 1 (largest difference)",
        source,
        f"plain mlp of depth {', '.join(map(str, DEPTHS))}, width {width}, 64 pixels to 64 "
        "outputs, float64; diagnostic jacobian's spectrum of the whole network",
        at_most(1e-4),
        "weights are drawn in float32, orthogonal to 1e-6 each; 200 of them",
        lambda config: from_isometry(config, width=width, **options),
        Basis.IDENTITY,
    )


FAINT = 0.1
PATHS = (
    f"x + b W ReLU(x), He, {BLOCKS} blocks, width 128, 12 networks, 4 images; diagnostic paths' "
    "exact sums by length"
)

CLAIMS = (
    _isometry(
        "looks-linear networks",
        "Balduzzi et al. 2017, section 4",
        128,  # mirrored: 64 that are free
        initialization="looks_linear",
    ),
    _isometry(
        "orthogonal linear networks",
        "Saxe et al. 2014",
        64,
        initialization="orthogonal",
        activation="identity",
    ),
    Claim(
        "paths that carry alike (b = 1): share of the squared gradient over lengths 19 ... 35",
        "Veit et al. 2016 (binomial lengths); derived",
        PATHS,
        within(depth.path_probability(BLOCKS, 19, 35), 0.03),
        "finite width: at width 128 long and short paths are not quite uncorrelated, and a "
        "network's branches not quite of factor 1",
        lambda config: share_within(config, 19, 35),
        Basis.OWN,
    ),
    Claim(
        f"faint branches (b^2 = {FAINT:g}): mean length of the paths that carry the squared "
        "gradient",
        "Veit et al. 2016 (long paths are many, and faint); derived",
        PATHS,
        within(
            float(np.arange(BLOCKS + 1) @ np.array(depth.path_gradient_shares(BLOCKS, FAINT))), 0.5
        ),
        "a tenth: the branch's factor b^2 fluctuates by some per cent at width 128",
        mean_length,
        Basis.OWN,
    ),
)
