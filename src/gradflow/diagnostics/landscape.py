"""The loss around a network's weights, along filter-normalized directions (Li et al. 2018).

A direction is Gaussian, then every filter of it (the weights of one output) is scaled to the
length of the network's own filter; biases and norms stay as they are. Batch norms take the
statistics of the images at every point: running averages belong to one point alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from gradflow.config.diagnostics import Columns, DiagnosticConfig
from gradflow.config.registry import register
from gradflow.config.validation import choice, number
from gradflow.core.seeds import seeded

if TYPE_CHECKING:
    from torch import Tensor, nn

    from gradflow.training.frozen import Frozen


@dataclass(frozen=True)
class LandscapeConfig(DiagnosticConfig):
    """The loss along filter-normalized random directions, on a line and on a plane."""

    TABLES: ClassVar[dict[str, Columns]] = {
        # One row per point, in units of the weights' own length.
        "landscape": {
            "surface": "string",  # line or plane
            "x": "float64",
            "y": "float64",
            "loss": "float64",
            "error": "float64",
        }
    }
    EXACT: ClassVar[bool] = False
    PART: ClassVar[tuple[str, ...]] = ("surface", "y")

    name: str = choice("landscape")
    images: int = number(256, at_least=2)
    line: int = number(41, at_least=3)  # points, an odd number
    plane: int = number(15, at_least=3)  # points per side, an odd number
    reach: float = number(1.0, above=0)  # 1: as far as the weights themselves are long

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, points in (("line", self.line), ("plane", self.plane)):
            if points % 2 == 0:
                self.refuse(name, "must be odd, so that one point is the network itself")


@register(LandscapeConfig)
def diagnose_landscape(
    frozen: Frozen, config: LandscapeConfig, done: set[tuple[Any, ...]]
) -> Iterator[dict[str, dict[str, list[Any]]]]:
    """Table `landscape`: a row per point (x, y), in units of the weights' own length.

    `surface` is "line" (y = 0) or "plane".

    Args:
        done: (surface, y) of the rows of points that were saved before.

    Yields:
        One row of points after the other.
    """
    network = frozen.network
    directions = [filter_normalized(network, axis, frozen.seed) for axis in "xy"]
    todo = [("line", 0.0, config.line)]
    todo += [("plane", y, config.plane) for y in _ticks(config.plane, config.reach)]
    for surface, y, points in todo:
        if (surface, y) in done:
            continue
        ticks = _ticks(points, config.reach)
        found = [loss_at(frozen, directions, (x, y)) for x in ticks]
        yield {
            "landscape": {
                "surface": [surface] * points,
                "x": ticks,
                "y": [y] * points,
                "loss": [loss for loss, _ in found],
                "error": [error for _, error in found],
            }
        }


def filter_normalized(network: nn.Module, axis: str, seed: int) -> list[Tensor]:
    """A direction in the space of all parameters, one tensor for each, in their order.

    Drawn from (seed, axis, the tensor's name): twins are moved along the same one.
    """
    import torch

    direction = []
    for name, weight in network.named_parameters():
        if weight.ndim < 2:
            direction.append(torch.zeros_like(weight))
            continue
        drawn = torch.randn(weight.shape, generator=seeded(seed, f"landscape {axis}", name))
        drawn = drawn.to(weight)
        own, other = (t.detach().flatten(1).norm(dim=1) for t in (weight, drawn))
        direction.append(drawn * (own / other).view(-1, *[1] * (weight.ndim - 1)))
    return direction


def loss_at(
    frozen: Frozen, directions: Sequence[Sequence[Tensor]], point: Sequence[float]
) -> tuple[float, float]:
    """(loss, error) with the weights moved by so much of each direction; then they are back."""
    import torch

    from gradflow.training.frozen import batch_statistics

    parameters = list(frozen.network.parameters())
    before = [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        try:
            for share, direction in zip(point, directions, strict=True):
                for parameter, step in zip(parameters, direction, strict=True):
                    parameter.add_(step, alpha=share)
            with batch_statistics(frozen.network):
                loss, error = frozen.loss_and_error()
        finally:
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)
    return float(loss), float(error)


def _ticks(points: int, reach: float) -> list[float]:
    """Even steps from -reach to reach; the middle one is exactly 0."""
    half = points // 2
    return [reach * step / half for step in range(-half, half + 1)]
