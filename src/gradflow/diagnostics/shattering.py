"""Do gradients at different inputs agree, or are they noise? (Balduzzi et al. 2017)

The gradient is that of one random linear functional of the network's output, the same for all
inputs, so that its differences come from the network alone. It is taken at the image and at
every block's input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from gradflow.config.diagnostics import Columns, DiagnosticConfig
from gradflow.config.needs import Need
from gradflow.config.registry import register
from gradflow.config.validation import choice, number
from gradflow.core.seeds import seeded

if TYPE_CHECKING:
    from torch import Tensor

    from gradflow.networks.network import Network
    from gradflow.training.frozen import Frozen

Rows = dict[str, list[Any]]


@dataclass(frozen=True)
class ShatteringConfig(DiagnosticConfig):
    """Do gradients at similar inputs agree? Of examples, and along a line between two images."""

    TABLES: ClassVar[dict[str, Columns]] = {
        # One row per place: the image (block_index null), each block's input, the head's input.
        "shattering": {
            "block_index": "int32",
            "signal_cosine": "float64",  # means over pairs of examples
            "grad_cosine": "float64",
            "whiteness": "float64",  # of the gradient along a line, 0 ... 1
        },
        # One row per place and pair of images.
        "pairs": {
            "block_index": "int32",
            "one": "int32",
            "other": "int32",
            "signal_cosine": "float64",
            "grad_cosine": "float64",
        },
        # One row per place and lag, a share of the line between two images.
        "autocorrelations": {
            "block_index": "int32",
            "lag": "float64",
            "correlation": "float64",
        },
    }
    EXACT: ClassVar[bool] = True
    NEEDS: ClassVar[tuple[Need, ...]] = ("blocks", "gradient by the input", "chain")

    name: str = choice("shattering")
    at: str = choice("both", "initialization", "final")
    images: int = number(16, at_least=2)
    points: int = number(256, at_least=8)  # on the line


@register(ShatteringConfig)
def diagnose_shattering(frozen: Frozen, config: ShatteringConfig) -> dict[str, Rows]:
    """Tables `shattering` (a row per place), `pairs` (a row per place and pair of images) and
    `autocorrelations` (a row per place and lag)."""
    import torch

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
        GradflowError: the network's blocks are not a chain, or the images are tokens.
    """
    import torch

    from gradflow.training.frozen import block_inputs, check_blocks, check_inputs

    check_blocks(network)
    check_inputs(images)
    images = images.detach().requires_grad_()
    places = block_inputs(network, images)
    output = network.head(places[-1])
    readout = torch.randn(output[0].shape, generator=seeded(seed, "readout"), dtype=output.dtype)
    total = (output * readout.to(output.device)).sum()
    gradients = torch.autograd.grad(total, [images, *places])
    signals = [images, *places]
    return [(s.detach().flatten(1), g.flatten(1)) for s, g in zip(signals, gradients, strict=True)]


def cosines(rows: Tensor) -> Tensor:
    """[N, N]: the cosine of every two of N rows [N, D]; NaN if one is 0."""
    import torch

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
    import torch

    power = torch.fft.rfft(rows - rows.mean(dim=0), dim=0).abs().square().sum(dim=1)[1:]
    if float(power.max()) <= 1e-20 * float(rows.square().sum()):
        return 0.0
    return float(power.clamp(min=1e-30 * float(power.max())).log().mean().exp() / power.mean())
