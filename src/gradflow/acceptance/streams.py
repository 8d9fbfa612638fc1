"""Residual streams of transformers: what blocks add, and what mixing matrices enlarge."""

from functools import cache

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from gradflow.acceptance.claim import (
    Basis,
    Claim,
    Sample,
    at_least,
    at_most,
    linear,
    logarithmic,
    within,
)
from gradflow.acceptance.measuring import DIGIT, Floats, blocks_of, first_seed, noise, seeds_of
from gradflow.acceptance.sharpness import digits
from gradflow.config.acceptance import AcceptanceConfig
from gradflow.networks import build_network
from gradflow.networks.streams import doubly_stochastic, gains, mixing_matrices
from gradflow.theory import streams

LAYERS, WIDTH, NETWORKS = 24, 128, 12
STEPS, BATCH, RATE = 100, 32, 3e-3  # of the training before gains are measured


@cache
def drawn(config: AcceptanceConfig, placement: str) -> list[pd.DataFrame]:
    """The blocks of 12 transformers of 24 layers, width 128, for 16 images of noise."""
    return [
        blocks_of(
            build_network(
                "transformer", image_shape=DIGIT, depth=4 * LAYERS + 2, width=WIDTH,
                placement=placement, seed=seed,
            ),
            noise(seed, 16),
            seed,
        )
        for seed in seeds_of(config, NETWORKS)
    ]  # fmt: skip


def peri_slope(config: AcceptanceConfig) -> Sample:
    """The slope of the stream's mean square over blocks, a line from the first to the last."""
    squares = [f.input_rms[: 2 * LAYERS] ** 2 for f in drawn(config, "peri_norm")]
    return linear([np.polyfit(np.arange(2 * LAYERS), s, 1)[0] for s in squares])


def mlp_share(config: AcceptanceConfig, placement: str, layers: Floats) -> Sample:
    """What MLP blocks add, over theory, mean over `layers` (from 1)."""
    scales = layers**-0.5 if placement == "layer_norm_scaling" else np.ones(len(layers))
    expected = np.array([streams.mlp_output(scale) for scale in scales])
    shares = [
        (f.branch_rms.to_numpy()[2 * layers.astype(int) - 1] ** 2 / expected).mean()
        for f in drawn(config, placement)
    ]
    return linear(shares)


def sinkhorn_error(config: AcceptanceConfig) -> Sample:
    """The largest |sum - 1| over columns and rows of 1,000 random matrices, 20 times Sinkhorn."""
    generator = torch.Generator().manual_seed(first_seed(config))
    free = torch.randn(1000, 4, 4, generator=generator, dtype=torch.float64)
    made = doubly_stochastic(free)
    return linear([float(max((made.sum(axis) - 1).abs().max() for axis in (-1, -2)))])


@cache
def trained_gains(config: AcceptanceConfig, connection: str) -> Floats:
    """The forward gain of the composite of all mixing matrices of 3 trained transformers."""
    images, targets = digits(config)
    found = []
    for seed in seeds_of(config, 3):
        network = build_network(
            "transformer", image_shape=DIGIT, depth=26, width=32, connection=connection, seed=seed
        ).double()
        optimizer = torch.optim.AdamW(network.parameters(), RATE)
        for step in range(STEPS):
            part = slice(step * BATCH % len(images), step * BATCH % len(images) + BATCH)
            optimizer.zero_grad()
            F.cross_entropy(network(images[part]), targets[part].argmax(1)).backward()
            optimizer.step()
        found.append(gains(mixing_matrices(network, images[:BATCH]))[0])
    return np.array(found)


HOW = (
    f"transformer of {LAYERS} layers, width {WIDTH}, Xavier, {NETWORKS} networks, 16 images of "
    "noise; blocks table"
)
TRAINED = (
    f"transformer of 6 layers, width 32, 4 streams, {STEPS} steps of AdamW at {RATE:g} on 256 "
    "digits, 3 networks; networks.streams.gains, forward"
)
EVERY = np.arange(1.0, LAYERS + 1)


def _mlp(placement: str, name: str, source: str) -> Claim:
    return Claim(
        f"{name} transformer as drawn: mean square that MLP blocks add, over theory, "
        f"{LAYERS} layers",
        f"derived (theory.streams.mlp_output); {source}",
        f"{HOW}, branch_rms^2 of every second block",
        within(1.0, 0.03),
        f"{4 * WIDTH} hidden units of a block give 3 % each, averaged over layers and networks; "
        "finite width",
        lambda config: mlp_share(config, placement, EVERY),
        Basis.OWN,
    )


CLAIMS = (
    Claim(
        "Peri-LN transformer as drawn: slope of the stream's mean square over blocks",
        "Kim et al. 2025 (arXiv 2502.02732)",
        f"{HOW}, input_rms^2",
        within(streams.peri_norm_stream(1) - streams.peri_norm_stream(0), 0.1),
        f"branches of {WIDTH} features are orthogonal to 9 %: a network's slope to some per cent",
        peri_slope,
        Basis.PUBLISHED,
    ),
    _mlp("pre_norm", "pre-norm", "Xiong et al. 2020"),
    _mlp("layer_norm_scaling", "LayerNorm-scaled", "Sun et al. 2025 (arXiv 2502.05795)"),
    Claim(
        "mixing matrices of mHC are doubly stochastic (largest difference of a sum from 1)",
        "Xie et al. 2025 (arXiv 2512.24880); Sinkhorn and Knopp 1967",
        "1,000 random 4x4 matrices, logarithms standard normal, 20 iterations, float64",
        at_most(1e-2),
        "rows are normalized last and are exact; 20 iterations leave columns a gap, which the "
        "paper accepts",
        sinkhorn_error,
        Basis.IDENTITY,
    ),
    Claim(
        "mHC, trained: forward gain of the composite of all mixing matrices",
        "Xie et al. 2025 (arXiv 2512.24880); a public repeat at 10 M parameters: 1.0",
        TRAINED,
        within(1.0, 0.05),
        "each matrix is doubly stochastic but for what 20 iterations leave",
        lambda config: linear(trained_gains(config, "manifold_hyper")),
        Basis.PUBLISHED,
    ),
    Claim(
        "HC, trained: forward gain of the composite, not bounded by 1",
        "Xie et al. 2025 (arXiv 2512.24880); a public repeat at 10 M parameters: 9.2",
        f"{TRAINED}; geometric mean",
        at_least(1.5),
        "a direction and a size that no rounding has; 12 blocks are a sixth of a published network",
        lambda config: logarithmic(trained_gains(config, "hyper")),
        Basis.PUBLISHED,
    ),
)
