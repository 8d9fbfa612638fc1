"""How far a step moves a network of some depth: the largest useful rate as a law over depth."""

from functools import cache
from typing import Any

import numpy as np
import torch

from gradflow.acceptance.claim import Basis, Claim, Sample, linear, within, within_share
from gradflow.acceptance.measuring import Floats, noise, random_mlp, seeds_of
from gradflow.config.acceptance import AcceptanceConfig
from gradflow.theory import depth
from gradflow.training.frozen import block_inputs

DEPTHS, WIDTH, GROUPS, GROUP = (2, 4, 8, 16), 512, 6, 8
RESIDUAL_DEPTHS = (4, 8, 16, 32, 64)


def squared_change(blocks: int, seed: int, **options: Any) -> float:
    """Of the last block's output, over the squared rate: gradient descent on the blocks' weights
    of a random linear functional of the outputs for one image."""
    network = random_mlp(blocks, seed, width=WIDTH, bias=False, **options).double()
    image = noise(seed, 1).double()
    last = block_inputs(network, image)[-1]
    network.head(last).sum().backward()
    rate = 1e-6
    with torch.no_grad():
        for parameter in network.blocks.parameters():
            if parameter.grad is not None:
                parameter.sub_(rate * parameter.grad)
        changed = block_inputs(network, image)[-1]
    return float((changed - last.detach()).square().sum()) / rate**2


@cache
def changes(config: AcceptanceConfig, skip: bool) -> Floats:
    """[groups, depths]: `squared_change`, mean over the networks of a group."""
    scaling = "inverse_sqrt" if skip else "constant"
    found = [
        [squared_change(blocks, seed, skip=skip, scaling=scaling) for blocks in DEPTHS]
        for seed in seeds_of(config, GROUPS * GROUP)
    ]
    means: Floats = np.array(found).reshape(-1, GROUP, len(DEPTHS)).mean(axis=1)
    return means


def rate_exponent(config: AcceptanceConfig, skip: bool) -> Sample:
    """The slope of the log of the rate that changes outputs by a set amount, over log depth."""
    logs = -np.log(changes(config, skip)) / 2
    return linear(np.polyfit(np.log(DEPTHS), logs.T, 1)[0])


def unit_change(blocks: int, seed: int, skip: bool) -> float:
    """`squared_change` for all blocks but the first, in units of a single layer's: |phi|^4 |v|^2,
    phi the second block's activations and v the gradient at the last block's output."""
    scaling = "inverse_sqrt" if skip else "constant"
    width = 256 if skip else WIDTH
    network = random_mlp(blocks, seed, width=width, bias=False, skip=skip, scaling=scaling).double()
    image = noise(seed, 1).double()
    inputs = block_inputs(network, image)
    inputs[-1].retain_grad()
    network.head(inputs[-1]).sum().backward()
    upstream = inputs[-1].grad
    assert upstream is not None
    rate = 1e-6
    with torch.no_grad():
        for parameter in network.blocks[1:].parameters():
            assert parameter.grad is not None
            parameter.sub_(rate * parameter.grad)
        change = block_inputs(network, image)[-1] - inputs[-1]
        unit = inputs[1].relu().square().sum() ** 2 * upstream.square().sum()
        return float(change.square().sum() / unit) / rate**2


@cache
def unit_changes(config: AcceptanceConfig, skip: bool) -> Floats:
    """[groups, depths]: `unit_change`, mean over the networks of a group; depths as `courses`."""
    depths = RESIDUAL_DEPTHS if skip else tuple(layers + 1 for layers in DEPTHS)
    found = [
        [unit_change(blocks, seed, skip) for blocks in depths]
        for seed in seeds_of(config, GROUPS * GROUP)
    ]
    means: Floats = np.array(found).reshape(-1, GROUP, len(depths)).mean(axis=1)
    return means


def deep_exponent(config: AcceptanceConfig) -> Sample:
    """`rate_exponent` of residual networks of 16, 32 and 64 blocks."""
    logs = -np.log(unit_changes(config, skip=True)[:, -3:]) / 2
    return linear(np.polyfit(np.log(RESIDUAL_DEPTHS[-3:]), logs.T, 1)[0])


RATES = (
    f"width {WIDTH}, {', '.join(map(str, DEPTHS))} blocks, one image, a step on the blocks' "
    f"weights, float64; {GROUPS} groups of {GROUP} networks, mean of the squared change, slope of "
    "a line through the logarithms"
)


def _change(skip: bool, blocks: int) -> Claim:
    theory = depth.residual_update_growth(blocks) if skip else depth.update_growth(blocks - 1)
    words = "x + W ReLU(x) / sqrt(L)" if skip else "W ReLU(x)"
    return Claim(
        f"{words}, {blocks - 1} layers: squared change of the output in a step, over one layer's",
        f"derived; {'Yang' if skip else 'Jelassi'} et al. 2023",
        f"{RATES}; all blocks but the first, in units of |phi|^4 |v|^2",
        within_share(theory, 0.25),
        "infinite width; L / n and the groups' spread are ten per cent each",
        lambda config: linear(
            unit_changes(config, skip)[:, RESIDUAL_DEPTHS.index(blocks) if skip else -1]
        ),
        Basis.OWN,
    )


CLAIMS = (
    Claim(
        "plain He ReLU network: exponent in depth of the rate that changes its output by a set "
        "amount",
        "Jelassi et al. 2023 (arXiv 2305.07810)",
        f"W ReLU(x), {RATES}",
        within(-1.5, 0.15),
        "at finite width, 5 L / n of a logarithm, and 48 networks: 0.05 each",
        lambda config: rate_exponent(config, skip=False),
        Basis.PUBLISHED,
    ),
    Claim(
        "x + W ReLU(x) / sqrt(L): the same exponent, flat",
        "Yang et al. 2023; Bordelon et al. 2023 (arXiv 2310.02244, 2309.16620)",
        f"{RATES}",
        within(0.0, 0.15),
        "(1 + 1/L)^L tends to e from 2.25 at L = 2, and moves the slope by some hundredths",
        lambda config: rate_exponent(config, skip=True),
        Basis.PUBLISHED,
        "2 to 16 blocks are not deep: theory.depth.residual_update_growth, derived afterwards, "
        "has an exponent of -0.3 there; see the same at 16 to 64",
    ),
    Claim(
        "the same of 16, 32 and 64 blocks",
        "Yang et al. 2023; Bordelon et al. 2023 (arXiv 2310.02244, 2309.16620)",
        f"{RATES}; width 256, all blocks but the first",
        within(0.0, 0.15),
        "as above; theory.depth.residual_update_growth: -0.06",
        deep_exponent,
        Basis.FITTED,
    ),
    _change(skip=False, blocks=17),
    _change(skip=True, blocks=16),
)
