"""The loss around a network's weights, along filter-normalised directions (Li et al. 2018).

A direction is Gaussian, then every filter of it (the weights of one output) is scaled to the
length of the network's own filter; biases and norms stay as they are. Batch norms take the
statistics of the images at every point: running averages belong to one point alone.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gradflow.config.diagnostics import LandscapeConfig
from gradflow.core.seeds import seeded
from gradflow.diagnostics.frozen import Frozen, batch_statistics

Rows = dict[str, list[Any]]


def diagnose_landscape(
    frozen: Frozen,
    config: LandscapeConfig,
    done: set[tuple[str, float]],
    save: Callable[[Rows], None],
) -> None:
    """Table `landscape`: a row a point (x, y), in units of the weights' own length.

    `surface` is "line" (y = 0) or "plane".

    Args:
        done: (surface, y) of the rows of points that were saved before.
        save: is given one row of points after the other.
    """
    network = frozen.network
    directions = [filter_normalised(network, axis, frozen.seed) for axis in "xy"]
    todo = [("line", 0.0, config.line)]
    todo += [("plane", y, config.plane) for y in _ticks(config.plane, config.reach)]
    for surface, y, points in todo:
        if (surface, y) in done:
            continue
        ticks = _ticks(points, config.reach)
        found = [loss_at(frozen, directions, (x, y)) for x in ticks]
        save(
            {
                "surface": [surface] * points,
                "x": ticks,
                "y": [y] * points,
                "loss": [loss for loss, _ in found],
                "error": [error for _, error in found],
            }
        )


def filter_normalised(network: nn.Module, axis: str, seed: int) -> list[Tensor]:
    """A direction in the space of all parameters, one tensor for each, in their order.

    Drawn from (seed, axis, the tensor's name): twins are moved along the same one.
    """
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


@torch.no_grad()
def loss_at(
    frozen: Frozen, directions: Sequence[Sequence[Tensor]], point: Sequence[float]
) -> tuple[float, float]:
    """(loss, error) with the weights moved by so much of each direction; then they are back."""
    parameters = list(frozen.network.parameters())
    before = [parameter.clone() for parameter in parameters]
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
