"""Shaped plain networks: tailored rectifiers, and weights on the edge of chaos."""

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

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
)
from gradflow.config.acceptance import AcceptanceConfig
from gradflow.diagnostics.jacobian import spectrum
from gradflow.networks import Network, build_network
from gradflow.theory import mean_field, shaped
from gradflow.training.frozen import block_inputs

WIDTH, NETWORKS = 256, 16
SHALLOW, DEEP = 56, 110
BIASES = 0.05  # bias variance of the tanh networks: their fixed point is near 1/2
EDGE = shaped.edge_of_chaos("tanh", BIASES)
FIRST, LAYERS, JACOBIANS = 10, 30, 8


def orthogonal_pair(seed: int) -> Tensor:
    """Two images of a digit's shape, orthogonal and of mean square 1."""
    columns, _ = torch.linalg.qr(noise(seed, 2).flatten(1).T)
    pair: Tensor = columns.T.reshape(2, 1, 8, 8) * 8
    return pair


def plain(depth: int, seed: int, **options: Any) -> Network:
    """W phi(x) with orthogonal weights, width 256."""
    options = {"initialization": "critical", "activation": "tailored_relu", **options}
    return random_mlp(depth - 2, seed, width=WIDTH, skip=False, **options)


@cache
def end_correlations(config: AcceptanceConfig, depth: int, activation: str) -> Floats:
    """The correlation that two orthogonal images have behind all of a network's activations."""
    found = []
    for seed in seeds_of(config, NETWORKS):
        network = plain(depth, seed, activation=activation)
        with torch.no_grad():
            last = block_inputs(network, orthogonal_pair(seed))[-1]
            one, other = network.head[:-1](last)  # type: ignore[index]  # it is a Sequential
        found.append(float(torch.cosine_similarity(one, other, dim=0)))
    return np.array(found)


@cache
def tailored(config: AcceptanceConfig) -> list[pd.DataFrame]:
    """The blocks of 32 tailored networks of depth 56, batches of two orthogonal images."""
    return [
        blocks_of(plain(SHALLOW, seed), orthogonal_pair(seed), seed)
        for seed in seeds_of(config, 2 * NETWORKS)
    ]


def closed_map_error(config: AcceptanceConfig) -> Sample:
    """The largest difference of the closed correlation map from its quadrature."""
    errors = []
    for slope in (0.0, 0.3, 0.6, 0.9):
        leaky = _leaky(slope)
        for c in (-0.5, 0.0, 0.5, 0.9):
            expected = mean_field.correlation_map(c, leaky, 2 / (1 + slope**2), q=1.0)
            errors.append(abs(shaped.leaky_relu_correlation(c, slope) - expected))
    return linear([max(errors)])


def _leaky(slope: float) -> mean_field.Activation:
    return mean_field.Activation(
        lambda x: np.where(x > 0, x, slope * x), lambda x: np.where(x > 0, 1.0, slope)
    )


def delta_isometry(config: AcceptanceConfig) -> Sample:
    """The largest |singular value - 1| of 54 linear delta-orthogonal convolutions, float64."""
    seed = first_seed(config)
    network = build_network(
        "cifar_resnet", image_shape=(1, 8, 8), depth=56, width=4, stages=1, skip=False,
        norm="none", activation="identity", initialization="critical", seed=seed,
    ).double()  # fmt: skip
    with torch.no_grad():
        start = network.stem(noise(seed, 1).double())[0]
    values = spectrum(nn.Sequential(*network.blocks), start).values
    return linear([float(abs(values - 1).max())])


def edge_factor(config: AcceptanceConfig, initialization: str) -> Sample:
    """The squared gradient's factor per block of tanh networks on the edge of chaos."""
    frames = [
        blocks_of(_tanh(seed, initialization), noise(seed, 16), seed)
        for seed in seeds_of(config, NETWORKS)
    ]
    return linear(backward_growth(frames, FIRST, FIRST + LAYERS) ** (1 / LAYERS))


def spread(config: AcceptanceConfig, initialization: str, layers: int) -> Sample:
    """Variance over squared mean of the squared singular values of `layers` blocks' Jacobian."""
    found = []
    for seed in seeds_of(config, JACOBIANS):
        network = _tanh(seed, initialization).double()
        with torch.no_grad():
            start = block_inputs(network, noise(seed, 1).double())[FIRST][0]
        part = nn.Sequential(*list(network.blocks)[FIRST : FIRST + layers])
        squares = spectrum(part, start).values ** 2
        found.append(squares.var() / squares.mean() ** 2)
    return linear(found)


def _tanh(seed: int, initialization: str) -> Network:
    drawn: dict[str, Any] = {"bias_variance": BIASES}
    if initialization == "gaussian":  # critical finds it itself
        drawn["weight_variance"] = EDGE.weight_variance
    return random_mlp(
        FIRST + LAYERS + 2,
        seed,
        width=WIDTH,
        skip=False,
        activation="tanh",
        initialization=initialization,
        **drawn,
    )


TAT = "Zhang et al. 2022 (tailored rectifiers)"
PAIR = (
    f"W phi(x), orthogonal weights, width {WIDTH}, {NETWORKS} networks; cosine of two orthogonal "
    "images behind the last activation"
)
TANH = (
    f"W tanh(x), width {WIDTH}, weight variance {EDGE.weight_variance:.4f}, bias variance "
    f"{BIASES:g} (chi_1 = 1 at q* = {EDGE.q:.3f})"
)
RELU_END = shaped.network_correlation(DEEP - 1, 0.0)


def _end(depth: int) -> Claim:
    return Claim(
        f"tailored rectifiers, depth {depth}: correlation of orthogonal inputs at the end",
        TAT,
        PAIR,
        within(shaped.ETA, 0.02),
        "a fifth of the distance from 1; a network's end has a standard deviation near 0.015",
        lambda config: linear(end_correlations(config, depth, "tailored_relu")),
        Basis.PUBLISHED,
    )


def _edge(initialization: str, words: str) -> Claim:
    return Claim(
        f"tanh on the edge of chaos, {words} weights: the squared gradient's factor per layer",
        "Schoenholz et al. 2017; Xiao et al. 2018",
        f"{TANH}, {NETWORKS} networks, batch 16; input_grad_norm^2 over blocks {FIRST} ... "
        f"{FIRST + LAYERS}, per block",
        within(1.0, 0.03),
        "as for chi_1 elsewhere: finite width 1 %, and as much for sampling",
        lambda config: edge_factor(config, initialization),
        Basis.PUBLISHED,
    )


def _spread(initialization: str, words: str, layers: int) -> Claim:
    orthogonal = initialization == "critical"
    return Claim(
        f"tanh on the edge of chaos, {words} weights, {layers} layers: variance of the squared "
        "singular values over their squared mean",
        "Pennington et al. 2018",
        f"{TANH}; diagnostic jacobian's spectrum from block {FIRST} on, {JACOBIANS} networks",
        within_share(shaped.jacobian_spread("tanh", EDGE.q, layers, orthogonal=orthogonal), 0.15),
        f"infinite width; at {WIDTH} the next order is (layers / width) of it, some per cent",
        lambda config: spread(config, initialization, layers),
        Basis.PUBLISHED,
    )


CLAIMS = (
    _end(SHALLOW),
    _end(DEEP),
    Claim(
        f"the same without tailoring, ReLU, depth {DEEP}: distance of that correlation from 1",
        "Poole et al. 2016; Cho and Saul 2009",
        f"{PAIR}; geometric mean",
        within_factor(1 - RELU_END, 1.5),
        "a network's distance has a standard deviation of some ten per cent",
        lambda config: logarithmic(1 - end_correlations(config, DEEP, "relu")),
        Basis.FITTED,
    ),
    Claim(
        f"tailored rectifiers, depth {SHALLOW}: mean of the squared norm's ratio, forward",
        f"{TAT}: Q(q) = q",
        f"as above, {2 * NETWORKS} networks; input_rms, blocks 1 ... {SHALLOW - 3}",
        within(1.0, 0.2),
        "the logarithm of a network's ratio has a variance near 0.1",
        lambda config: linear(forward_growth(tailored(config), 1, SHALLOW - 3)),
        Basis.FITTED,
    ),
    Claim(
        f"tailored rectifiers, depth {SHALLOW}: mean of the squared gradient's ratio, backward",
        f"{TAT}: C'(1) = 1",
        f"as above, {2 * NETWORKS} networks; input_grad_norm, blocks 1 ... {SHALLOW - 2}",
        within(1.0, 0.2),
        "as forward",
        lambda config: linear(backward_growth(tailored(config), 1, SHALLOW - 2)),
        Basis.PUBLISHED,
    ),
    Claim(
        "the leaky rectifier's closed correlation map is its quadrature (largest difference)",
        f"{TAT}; Cho and Saul 2009",
        "theory.shaped against theory.mean_field, 4 slopes, 4 correlations",
        at_most(1e-7),
        "the quadrature's own accuracy near the kink",
        closed_map_error,
        Basis.IDENTITY,
    ),
    Claim(
        "delta-orthogonal linear convolutions: all singular values are 1 (largest difference)",
        "Xiao et al. 2018, section 2.4",
        "54 convolutions 3x3 of 4 channels on 8x8 pixels, float64; diagnostic jacobian's spectrum",
        at_most(1e-4),
        "weights are drawn in float32, orthogonal to 1e-6 each; 54 of them",
        delta_isometry,
        Basis.IDENTITY,
    ),
    _edge("gaussian", "Gaussian"),
    _edge("critical", "orthogonal"),
    _spread("gaussian", "Gaussian", 10),
    _spread("critical", "orthogonal", 20),
)
