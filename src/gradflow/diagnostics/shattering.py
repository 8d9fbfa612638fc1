"""Do gradients at different inputs agree, or are they noise? (Balduzzi et al. 2017)

The gradient is that of one random linear functional of the network's output, the same for all
inputs, so that its differences come from the network alone. It is taken at the image and at
every block's input.
"""

from typing import Any

import torch
from torch import Tensor

from gradflow.config.diagnostics import ShatteringConfig
from gradflow.core.seeds import seeded
from gradflow.diagnostics.frozen import Frozen, block_inputs
from gradflow.networks import Network

Rows = dict[str, list[Any]]


def diagnose_shattering(frozen: Frozen, config: ShatteringConfig) -> dict[str, Rows]:
    """Tables `shattering` (a row a place), `pairs` (a row a place and pair of images) and
    `autocorrelations` (a row a place and lag)."""
    readout_seed = frozen.seed
    examples = signals_and_gradients(frozen.network, frozen.images, readout_seed)
    first, last = frozen.images[0], frozen.images[1]
    share = torch.linspace(0, 1, config.points, dtype=first.dtype, device=first.device)
    line = first + share[:, None, None, None] * (last - first)
    along = signals_and_gradients(frozen.network, line, readout_seed)
    places: list[int | None] = [None, *range(len(examples) - 1)]
    lags = [2**k for k in range(config.points.bit_length()) if 2**k <= config.points // 2]
    one, other = torch.triu_indices(len(frozen.images), len(frozen.images), offset=1)
    pairs = [[cosines(rows)[one, other] for rows in place] for place in examples]
    return {
        "shattering": {
            "block_index": places,
            "signal_cosine": [mean_cosine(signal) for signal, _ in examples],
            "grad_cosine": [mean_cosine(gradient) for _, gradient in examples],
            "whiteness": [whiteness(gradient) for _, gradient in along],
        },
        "pairs": {
            "block_index": [place for place in places for _ in one],
            "one": one.tolist() * len(places),
            "other": other.tolist() * len(places),
            "signal_cosine": torch.cat([signal for signal, _ in pairs]).tolist(),
            "grad_cosine": torch.cat([gradient for _, gradient in pairs]).tolist(),
        },
        "autocorrelations": {
            "block_index": [place for place in places for _ in lags],
            "lag": [lag / (config.points - 1) for _ in places for lag in lags],
            "correlation": [
                autocorrelation(gradient, lag) for _, gradient in along for lag in lags
            ],
        },
    }


def signals_and_gradients(
    network: Network, images: Tensor, seed: int = 0
) -> list[tuple[Tensor, Tensor]]:
    """At the image and at each of the n + 1 places: the signal and the gradient there, [N, D].

    The gradient is of <v, network(x)>, v Gaussian and drawn from `seed`.

    Raises:
        GradflowError: the network's blocks are not a chain.
    """
    images = images.detach().requires_grad_()
    places = block_inputs(network, images)
    output = network.head(places[-1])
    readout = torch.randn(output[0].shape, generator=seeded(seed, "readout"), dtype=output.dtype)
    total = (output * readout.to(output.device)).sum()
    gradients = torch.autograd.grad(total, [images, *places])
    signals = [images, *places]
    return [(s.detach().flatten(1), g.flatten(1)) for s, g in zip(signals, gradients, strict=True)]


def cosines(rows: Tensor) -> Tensor:
    """[N, N]: the cosine of every two of N rows [N, D]; NaN where one is 0."""
    unit: Tensor = rows / rows.norm(dim=1, keepdim=True)
    return torch.matmul(unit, unit.T)


def mean_cosine(rows: Tensor) -> float:
    """The mean over every two different rows."""
    count = len(rows)
    return float(cosines(rows).sum() - count) / (count * (count - 1))


def autocorrelation(rows: Tensor, lag: int) -> float:
    """sum_t <r_t, r_(t+lag)> over the same at lag 0 (of as many terms); rows [T, D]."""
    early, late = rows[:-lag], rows[lag:]
    scale = (early.square().sum() * late.square().sum()).sqrt()
    return float((early * late).sum() / scale)


def whiteness(rows: Tensor) -> float:
    """Spectral flatness of a vector that changes along a line; rows [T, D].

    Geometric over arithmetic mean of the power spectrum, its mean taken out: near 1 for white
    noise, 0 for a smooth curve. A gradient that does not change at all counts as smooth.
    """
    power = torch.fft.rfft(rows - rows.mean(dim=0), dim=0).abs().square().sum(dim=1)[1:]
    if float(power.max()) <= 1e-20 * float(rows.square().sum()):
        return 0.0
    return float(power.clamp(min=1e-30 * float(power.max())).log().mean().exp() / power.mean())
