"""Plain convolutions that hold the identity: DiracNet and RepVGG."""

import numpy as np
import torch
from torch import nn

from gradflow.acceptance.claim import Basis, Claim, Sample, at_most, linear
from gradflow.acceptance.measuring import (
    DIGIT,
    blocks_of,
    end_ratios,
    first_seed,
    noise,
    seeds_of,
    tables,
)
from gradflow.acceptance.normalized import exploding
from gradflow.config.acceptance import AcceptanceConfig
from gradflow.networks import build_network
from gradflow.networks.reparametrized import DiracConv, folded


def fold_error(config: AcceptanceConfig, block: str) -> Sample:
    """The largest difference of a folded network's outputs, over their largest size."""
    seed = first_seed(config)
    network = build_network(
        "cifar_resnet", image_shape=DIGIT, depth=56, width=8, skip=False, block=block, seed=seed
    ).double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # a plain average: 56 layers of half-way ones would overflow
    batches = [2 + 3 * noise(seed + number, 16).double() for number in range(3)]
    for images in batches:
        network(images)  # running averages that are neither 0 nor 1
    network.eval()
    with torch.no_grad():
        expected, found = network(batches[0]), folded(network)(batches[0])
    return linear([float((found - expected).abs().max() / expected.abs().max())])


def scale_invariance(config: AcceptanceConfig) -> Sample:
    """The largest |cosine| of W and its gradient in Dirac convolutions without a norm, float64."""
    seed = first_seed(config)
    network = build_network(
        "cifar_resnet", image_shape=DIGIT, depth=20, width=8, skip=False, block="dirac",
        norm="none", seed=seed,
    ).double()  # fmt: skip
    tables(network, noise(seed, 16).double(), seed)
    cosines = []
    for module in network.modules():
        if isinstance(module, DiracConv):
            weight, gradient = module.weight.detach(), module.weight.grad
            assert gradient is not None
            cosines.append(abs(float((weight * gradient).sum() / weight.norm() / gradient.norm())))
    return linear([max(cosines)])


def fewer_decades(config: AcceptanceConfig, block: str) -> Sample:
    """log10 of the end-to-end ratio at depth 56, minus that of plain networks of basic blocks."""
    frames = [
        blocks_of(
            build_network(
                "cifar_resnet", image_shape=DIGIT, depth=56, width=8, skip=False, block=block,
                seed=seed,
            ),
            noise(seed, 64),
            seed,
        )
        for seed in seeds_of(config, 8)
    ]  # fmt: skip
    return linear(np.log10(end_ratios(frames)) - np.log10(exploding(config).values))


DIRAC, REPVGG = "Zagoruyko and Komodakis 2017", "Ding et al. 2021"
FOLD = "plain cifar_resnet of depth 56, width 8, float64, evaluation mode after three batches"


def _fold(name: str, block: str, source: str) -> Claim:
    return Claim(
        f"{name}: the network folded into single convolutions computes the same (largest "
        "difference over the largest output)",
        source,
        FOLD,
        at_most(1e-9),
        "exact but for rounding: float64, 56 layers",
        lambda config: fold_error(config, block),
        Basis.IDENTITY,
    )


def _decades(name: str, block: str, source: str) -> Claim:
    return Claim(
        f"{name} of depth 56: its gradient explodes less than a plain network's (decades)",
        f"derived: the identity's part passes gradients on; {source}",
        "plain cifar_resnet, width 8, batch 64, 8 networks of noise; input_grad_norm, end-to-end "
        "ratio, paired with the same seed's",
        at_most(0.0),
        "a direction is claimed, no size",
        lambda config: fewer_decades(config, block),
        Basis.OWN,
    )


CLAIMS = (
    _fold("DiracNet", "dirac", DIRAC),
    _fold("RepVGG", "repvgg", REPVGG),
    Claim(
        "DiracNet: <W, dL/dW> = 0, as only W's direction counts (largest cosine of the layers)",
        f"derived (scale invariance); {DIRAC}",
        "plain cifar_resnet of depth 20, no norm, float64; every Dirac convolution",
        at_most(1e-9),
        "exact but for rounding",
        scale_invariance,
        Basis.IDENTITY,
    ),
    _decades("DiracNet", "dirac", DIRAC),
    _decades("RepVGG", "repvgg", REPVGG),
)
