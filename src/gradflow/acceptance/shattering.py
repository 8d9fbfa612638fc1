"""Gradients of different examples: when they are noise to each other, and when not."""

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from gradflow.acceptance.claim import Basis, Claim, Sample, linear, within
from gradflow.acceptance.measuring import Floats, noise, random_mlp, seeds_of
from gradflow.config.acceptance import AcceptanceConfig
from gradflow.diagnostics.shattering import mean_cosine, signals_and_gradients
from gradflow.networks import Network
from gradflow.theory import depth
from gradflow.training.frozen import settle_norms

WIDTH, NETWORKS = 512, 200


def cosines(network: Network, images: Tensor, seed: int) -> Floats:
    """The mean cosine between examples of the gradient at every block's input and the head's."""
    found = signals_and_gradients(network, images, seed)[1:]  # without the image itself
    return np.array([mean_cosine(gradient) for _, gradient in found])


def linear_head(network: Network) -> Network:
    """Without the head's activation, so that the blocks' gates are all that there are."""
    name, _ = next(network.head.named_children())
    network.head.set_submodule(name, nn.Identity())
    return network


def opposite(seed: int) -> Tensor:
    """An image and its negative: behind the stem's ReLU, without biases, they are orthogonal."""
    image = noise(seed, 1)
    return torch.cat([image, -image])


def he_correlation(config: AcceptanceConfig, layers: int, skip: bool) -> Sample:
    """At block 1's input, where the two signals are orthogonal, over so many blocks."""
    found = []
    for seed in seeds_of(config, NETWORKS):
        network = linear_head(random_mlp(layers + 1, seed, width=WIDTH, skip=skip))
        found.append(cosines(network, opposite(seed), seed)[1])
    return linear(found)


def independent_gates(config: AcceptanceConfig, layers: int, skip: bool) -> Sample:
    """At block 1's input, every ReLU replaced by dropout of a half.

    Dropout doubles what it lets through, so that weights of variance 1/2 keep the norm.
    """
    found = []
    for seed in seeds_of(config, NETWORKS // 2):
        network = random_mlp(
            layers + 1, seed, width=WIDTH, skip=skip, activation="identity", weight_variance=0.5
        )
        for block in list(network.blocks)[1:]:
            block.get_submodule("branch").add_module("act1", nn.Dropout(0.5))
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            found.append(cosines(network, noise(seed, 8), seed)[1])
    return linear(found)


def batch_norm_halving(config: AcceptanceConfig) -> Sample:
    """The cosine's factor per layer, from block 14 of 16 back to block 10."""
    rates = []
    for seed in seeds_of(config, 24):
        network = random_mlp(16, seed, width=WIDTH, skip=False, norm="batch", placement="original")
        network.eval()
        images = noise(seed, 64)
        settle_norms(network, partial(network, images))
        found = cosines(network, images, seed)
        rates.append((found[10] / found[14]) ** (1 / 4))
    return linear(rates)


HE = (
    f"ReLU, He weights, width {WIDTH}, {NETWORKS} networks, an image and its negative (orthogonal "
    "behind the stem); diagnostic shattering's cosine at block 1's input, linear head"
)
GATES = (
    f"width {WIDTH}, {NETWORKS // 2} networks, 8 images, each ReLU replaced by dropout of 1/2; "
    "diagnostic shattering's cosine at block 1's input"
)
KERNEL = "derived: arc-cosine kernels (Cho and Saul 2009)"
ASSUMED = "Balduzzi et al. 2017"
NOISE = "networks differ by 0.06, their mean by 0.004; finite width"


def _he(layers: int, skip: bool, distance: float, than: str) -> Claim:
    expected = depth.gradient_correlation(layers, branch_scale=1.0 if skip else None)
    kind = "residual" if skip else "plain"
    return Claim(
        f"correlation of gradients between examples, {kind} He ReLU network, {layers} blocks{than}",
        KERNEL,
        HE,
        within(expected, distance),
        NOISE,
        lambda config: he_correlation(config, layers, skip),
        Basis.OWN,
    )


CLAIMS = (
    _he(5, False, 0.015, ""),
    _he(6, False, 0.015, " (real gates: not 2^-6 = 0.0156)"),
    _he(6, True, 0.02, " (real gates: not (3/4)^6 = 0.178)"),
    Claim(
        "the same for gates that are independent, plain, 6 blocks: 2^-6",
        ASSUMED,
        GATES,
        within(depth.independent_gates(6, skip=False), 0.004),
        "28 pairs per network, 100 networks: 0.001 in the mean; the band excludes real gates",
        lambda config: independent_gates(config, 6, False),
        Basis.FITTED,
    ),
    Claim(
        "the same for gates that are independent, residual, 6 blocks: (3/4)^6",
        ASSUMED,
        GATES,
        within(depth.independent_gates(6, skip=True), 0.015),
        "100 networks: 0.002 in the mean; the band excludes real gates",
        lambda config: independent_gates(config, 6, True),
        Basis.FITTED,
    ),
    Claim(
        "plain batch-norm network: correlation of gradients between examples, its factor per layer",
        "Balduzzi et al. 2017; Monte Carlo",
        f"ReLU(BN(W x)), 16 blocks, width {WIDTH}, 24 networks, 64 images whose statistics are "
        "held fixed; diagnostic shattering's cosine over blocks 10 ... 14",
        within(0.5, 0.03),
        "over four layers, as further back the cosine drowns in that of finite width",
        batch_norm_halving,
        Basis.OWN,
    ),
)
