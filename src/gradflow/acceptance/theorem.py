"""The gradient theorem: what comes back over the shortcuts, and the ledger that says so."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor, nn

from gradflow.acceptance.claim import (
    Band,
    Basis,
    Claim,
    Sample,
    at_most,
    linear,
    within,
    within_share,
)
from gradflow.acceptance.measuring import (
    DIGIT,
    Floats,
    blocks_of,
    first_seed,
    noise,
    seeds_of,
    tables,
)
from gradflow.config.acceptance import AcceptanceConfig
from gradflow.networks import Network, build_network

PREACTIVATION = {"placement": "full_preactivation", "depth": 20, "stages": 1, "width": 8}


def convolutional(seed: int, **options: Any) -> Network:
    """A 6n+2 network for images of a digit's shape, in float64."""
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


def ledger_error(config: AcceptanceConfig) -> Sample:
    """The largest relative difference, over blocks, between a part of the gradient and the
    gradient with the other path cut; and between the stem's gradient and the sum over both."""
    seed = first_seed(config)
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
    return linear([max(errors)])


def over_shortcuts(config: AcceptanceConfig, scale: float) -> Sample:
    """What comes back over shortcuts alone, over the gradient at the last block's output."""
    seed = first_seed(config)
    network = convolutional(seed, **PREACTIVATION, shortcut_scale=scale)
    found = tables(network, noise(seed, 8).double(), seed, details=True)
    last = float(found["blocks"].input_grad_norm.iloc[-1])
    return linear([float(found["network_details"].path_grad_norm[0]) / last])


def unevenness(config: AcceptanceConfig) -> Sample:
    """The largest |ratio - 1| of gradients at two blocks of one stage, over both kinds of
    zero branches: SkipInit's factor, and a zero gain of the last batch norm."""
    kinds: tuple[dict[str, Any], ...] = (
        {"scaling": "rezero", "placement": "full_preactivation"},
        {"zero_last": True, "placement": "activation_before_addition"},
    )
    seed = first_seed(config)
    found = []
    for kind in kinds:
        network = convolutional(seed, depth=38, width=8, **kind)
        norms = blocks_of(network, noise(seed, 8).double(), seed).input_grad_norm.to_numpy()
        for stage in (norms[:7], norms[7:13], norms[13:]):
            found.append(stage.max() / stage.min() - 1)
    return linear([max(found)])


def between_stages(config: AcceptanceConfig) -> Sample:
    """The gradient's norm at the last block of a stage over that at the next stage's first."""
    values = []
    for seed in seeds_of(config, 16):
        network = convolutional(
            seed, depth=20, width=16, zero_last=True, placement="activation_before_addition"
        )
        norms = blocks_of(network, noise(seed, 16).double(), seed).input_grad_norm
        values += [norms[3] / norms[4]]
    return linear(values)


THEOREM = "He et al. 2016, eq. 5"

CLAIMS = (
    Claim(
        "gradient theorem, pre-activation: the skip part is the gradient at the next block's "
        "input (largest difference of their norms' ratio from 1)",
        THEOREM,
        "cifar_resnet of 9 blocks, one stage, batch norm, float64, 8 networks, all blocks; "
        "skip_grad_norm over the next input_grad_norm",
        at_most(1e-6),
        "exact; the blocks table keeps seven digits",
        lambda config: linear([float(abs(skip_over_next(config, "full_preactivation") - 1).max())]),
        Basis.IDENTITY,
    ),
    Claim(
        "gradient theorem, a ReLU after the addition: approximate, the same ratio",
        "He et al. 2016, section 2: f must be the identity; derived",
        "the same networks in the original placement, mean over blocks",
        Band(0.5**0.5, 0.5**0.5, 0.999, "to 0.999"),
        "the ReLU stops what meets a negative sum: something, but at most half of the square, as "
        "the shortcut's part of the sum is positive",
        lambda config: linear(skip_over_next(config, "original").mean(axis=1)),
        Basis.OWN,
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
        Basis.IDENTITY,
    ),
    Claim(
        "over shortcuts alone, identity: the gradient of the last block comes back undiminished",
        THEOREM,
        "cifar_resnet of 9 blocks, one stage, full pre-activation, float64; path_grad_norm over "
        "the last input_grad_norm",
        within(1.0, 1e-6),
        "exact; the tables keep seven digits",
        lambda config: over_shortcuts(config, 1.0),
        Basis.IDENTITY,
    ),
    Claim(
        "over shortcuts alone, each times 0.5: 0.5^9 of it",
        "He et al. 2016, eq. 8",
        "the same with shortcut_scale=0.5",
        within_share(0.5**9, 1e-6),
        "exact; the tables keep seven digits",
        lambda config: over_shortcuts(config, 0.5),
        Basis.IDENTITY,
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
        Basis.IDENTITY,
    ),
    Claim(
        "the same between stages: option A keeps half of the squared gradient",
        "derived: half of the channels are padding",
        "depth 20, width 16, batch-norm gain 0, 16 networks; input_grad_norm of block 3 over "
        "block 4 (under SkipInit the padding stays 0, has no gradient, and nothing is lost)",
        within_share(0.5**0.5, 0.1),
        "16 of 32 channels' share of a norm: some per cent in one network",
        between_stages,
        Basis.OWN,
    ),
)
