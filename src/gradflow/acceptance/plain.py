"""Plain networks without norm: what mean-field theory says of their signals and gradients."""

from functools import cache

import numpy as np
import pandas as pd
import torch

from gradflow.acceptance.claim import (
    Basis,
    Claim,
    Sample,
    at_most,
    linear,
    logarithmic,
    within,
    within_factor,
    within_share,
)
from gradflow.acceptance.measuring import (
    Floats,
    backward_growth,
    blocks_of,
    first_seed,
    forward_growth,
    noise,
    random_mlp,
    seeds_of,
    tables,
)
from gradflow.config.acceptance import AcceptanceConfig
from gradflow.theory import depth, mean_field

HE_LAYERS, HE_WIDTH, HE_NETWORKS = 30, 128, 800
LAYERS, WIDTH, NETWORKS = 30, 256, 16
FIRST = 10  # by this block a tanh network's variance has come to its fixed point


@cache
def he_ratios(config: AcceptanceConfig) -> tuple[Floats, Floats]:
    """Squared norms over 30 layers of He ReLU networks: forward, and of the gradient."""
    frames = []
    for seed in seeds_of(config, HE_NETWORKS):
        network = random_mlp(HE_LAYERS + 2, seed, width=HE_WIDTH, skip=False)
        frames.append(blocks_of(network, noise(seed, 1), seed))
    ends = 1, HE_LAYERS + 1
    return forward_growth(frames, *ends), backward_growth(frames, *ends)


def he_log_variance(config: AcceptanceConfig) -> Sample:
    """The variance over networks of the log of the forward growth of He networks."""
    logs = np.log(he_ratios(config)[0])
    return linear((logs - logs.mean()) ** 2 * len(logs) / (len(logs) - 1))


@cache
def plain_networks(
    config: AcceptanceConfig, activation: str, weight_variance: float, bias_variance: float
) -> list[pd.DataFrame]:
    """The blocks of 16 plain networks of width 256: 42 blocks, batches of 16."""
    return [
        blocks_of(
            random_mlp(
                FIRST + LAYERS + 2,
                seed,
                width=WIDTH,
                skip=False,
                activation=activation,
                weight_variance=weight_variance,
                bias_variance=bias_variance,
            ),
            noise(seed, 16),
            seed,
        )
        for seed in seeds_of(config, NETWORKS)
    ]


def gradient_factor(
    config: AcceptanceConfig, activation: str, weights: float, biases: float
) -> Sample:
    """The squared gradient's factor per block, toward the input."""
    frames = plain_networks(config, activation, weights, biases)
    return linear(backward_growth(frames, FIRST, FIRST + LAYERS) ** (1 / LAYERS))


def depth_scale(config: AcceptanceConfig) -> Sample:
    """The number of blocks in which the squared gradient of an ordered network falls by e."""
    frames = plain_networks(config, "tanh", *ORDERED)
    return linear(-LAYERS / np.log(backward_growth(frames, FIRST, FIRST + LAYERS)))


def variance(config: AcceptanceConfig) -> Sample:
    """The mean square of a block's input in an ordered network, at its fixed point."""
    frames = plain_networks(config, "tanh", *ORDERED)
    part = slice(FIRST, FIRST + LAYERS)
    return linear([float((f.input_rms[part] ** 2).mean()) for f in frames])


@cache
def vanishing(config: AcceptanceConfig) -> tuple[Floats, Floats]:
    """Norms of the first over the last block, weight variance 1, no biases: of the gradients of
    the weights, and of the blocks' inputs."""
    weights, inputs = [], []
    for seed in seeds_of(config, 64):
        network = random_mlp(
            LAYERS + 2, seed, width=WIDTH, skip=False, weight_variance=1.0, bias=False
        )
        found = tables(network, noise(seed, 1), seed)
        norms = found["layers"].set_index("block_index").grad_norm.astype(float)
        weights.append(norms[1] / norms[LAYERS + 1])
        inputs.append(backward_growth([found["blocks"]], 1, LAYERS + 1)[0] ** 0.5)
    return np.array(weights), np.array(inputs)


def spread_of_products(config: AcceptanceConfig) -> Sample:
    """The range over layers of <weight, gradient>, over their mean size."""
    seed = first_seed(config)
    network = random_mlp(50, seed, width=64, skip=False, bias=False).double()
    tables(network, noise(seed, 4).double(), seed)
    products = torch.stack(
        [
            (weight.detach() * weight.grad).sum()
            for weight in network.parameters()
            if weight.ndim == 2 and weight.grad is not None
        ]
    )
    return linear([float((products.max() - products.min()) / products.abs().mean())])


ORDERED, CHAOTIC, CENTERED = (1.0, 0.1), (3.0, 0.0), (1.5, 0.1)
HE_HOW = (
    f"W ReLU(x), width {HE_WIDTH}, weight variance 2, {HE_NETWORKS} networks, one image each; "
    f"blocks table, {HE_LAYERS} blocks apart"
)
PLAIN_HOW = (
    f"W phi(x), width {WIDTH}, {NETWORKS} networks, batch 16; input_grad_norm^2 over blocks "
    f"{FIRST} ... {FIRST + LAYERS}, per block"
)
FINITE = "finite width lowers a factor by 5/2n = 1 % (log-norm fluctuation); as much for sampling"
HE_VARIANCE = depth.log_norm_variance(HE_LAYERS, HE_WIDTH)


def _chi(activation: str, weights: float, biases: float) -> Claim:
    q = 1.0 if activation == "relu" else mean_field.fixed_point(activation, weights, biases)
    variances = f"weight variance {weights:g}" + (f", bias variance {biases:g}" if biases else "")
    return Claim(
        f"chi_1 of {activation}, {variances}: the squared gradient's factor per layer",
        "Schoenholz et al. 2017; Poole et al. 2016",
        PLAIN_HOW,
        within_share(mean_field.gradient_factor(q, activation, weights), 0.03),
        FINITE,
        lambda config: gradient_factor(config, activation, weights, biases),
        Basis.PUBLISHED,
    )


CLAIMS = (
    Claim(
        "He ReLU network: mean of the squared norm's ratio, forward",
        "He et al. 2015b, eq. 10; Hanin and Nica 2020",
        HE_HOW + ", input_rms",
        within(1.0, 0.25),
        "the ratio is log-normal with variance 1.17, so its mean has a standard error of 5 %",
        lambda config: linear(he_ratios(config)[0]),
        Basis.PUBLISHED,
    ),
    Claim(
        "He ReLU network: mean of the squared gradient's ratio, backward",
        "He et al. 2015b, eq. 14; Hanin and Nica 2020",
        HE_HOW + ", input_grad_norm",
        within(1.0, 0.25),
        "as forward",
        lambda config: linear(he_ratios(config)[1]),
        Basis.PUBLISHED,
    ),
    Claim(
        "its log-norm's variance, 5 L / n",
        "Hanin and Nica 2020, first order; derived",
        HE_HOW + ", input_rms",
        within_share(HE_VARIANCE, 0.25),
        "5 % standard error; the next order in 1/n is some per cent",
        he_log_variance,
        Basis.OWN,
    ),
    Claim(
        "its log-norm's mean, minus half of that",
        "Hanin and Nica 2020, first order; derived",
        HE_HOW + ", input_rms",
        within(-HE_VARIANCE / 2, 0.15),
        "a standard error of 0.04, and the next order in 1/n",
        lambda config: linear(np.log(he_ratios(config)[0])),
        Basis.OWN,
    ),
    _chi("relu", 1.0, 0.0),
    _chi("relu", 3.0, 0.0),
    _chi("tanh", *ORDERED),
    _chi("tanh", *CENTERED),
    _chi("tanh", *CHAOTIC),
    Claim(
        "tanh, weight variance 1, bias variance 0.1: variance q* of the pre-activations",
        "Poole et al. 2016",
        PLAIN_HOW.replace("input_grad_norm^2 over", "input_rms^2, mean of").removesuffix(
            ", a block"
        ),
        within_share(mean_field.fixed_point("tanh", *ORDERED), 0.05),
        "the biases of a layer, 256 Gaussians, give 9 % a layer, averaged over 30; finite width",
        variance,
        Basis.PUBLISHED,
    ),
    Claim(
        "its depth scale -1 / ln chi_1, in layers",
        "Schoenholz et al. 2017",
        PLAIN_HOW,
        within_share(mean_field.depth_scale("tanh", *ORDERED), 0.05),
        "3 % of the factor are that much of its logarithm and more",
        depth_scale,
        Basis.PUBLISHED,
    ),
    Claim(
        "bias-free plain ReLU network, weight variance 1: weight gradients, first over last block",
        "derived (forward and backward factors cancel)",
        f"W ReLU(x), width {WIDTH}, {LAYERS} layers apart, 64 networks, one image each; layers "
        "table, grad_norm; geometric mean",
        within_factor(1.0, 1.3),
        "the log ratio of a network has a standard deviation near 0.5",
        lambda config: logarithmic(vanishing(config)[0]),
        Basis.OWN,
    ),
    Claim(
        "the same networks: gradients of the activations, first over last block, vanish",
        "He et al. 2015b; Schoenholz et al. 2017 (chi_1 = 1/2)",
        "as above; blocks table, input_grad_norm",
        within_factor(0.5 ** (LAYERS / 2), 1.5),
        "a geometric mean lies exp(-5 L / 4 n) = 14 % below the mean",
        lambda config: logarithmic(vanishing(config)[1]),
        Basis.PUBLISHED,
    ),
    Claim(
        "<W, dL/dW> is the same for every layer (largest difference over the mean)",
        "derived (each layer is homogeneous)",
        "plain ReLU network of 52 layers, no biases, float64; products of weights and gradients "
        "after one pass",
        at_most(1e-9),
        "exact but for rounding: float64, 52 layers",
        spread_of_products,
        Basis.IDENTITY,
    ),
)
