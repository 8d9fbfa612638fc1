"""Small trainings to be watched, with planted faults."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradflow.watching import Watch
from gradflow.watching import watch as new_watch

WIDTH = 16


class Block(nn.Module):
    """x + F(x), or F(x)."""

    def __init__(self, *, skip: bool = True):
        super().__init__()
        self.norm, self.act, self.skip = nn.LayerNorm(WIDTH), nn.ReLU(), skip
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.down(self.act(self.up(self.norm(x))))
        return x + branch if self.skip else branch


def residual(blocks: int = 6, *, without_skip: int | None = None) -> nn.Sequential:
    """A stem, residual blocks, a head."""
    torch.manual_seed(0)
    made = [Block(skip=place != without_skip) for place in range(blocks)]
    return nn.Sequential(nn.Linear(8, WIDTH), *made, nn.Linear(WIDTH, 4))


def batches(steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Labels that a linear map decides."""
    generator = torch.Generator().manual_seed(1)
    truth = torch.randn(8, 4, generator=generator)
    for _ in range(steps):
        x = torch.randn(32, 8, generator=generator)
        yield x, (x @ truth).argmax(1)


def train(
    model: nn.Module,
    steps: int,
    watch: Watch | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    before: Callable[[int], None] = lambda step: None,
) -> list[float]:
    """The losses of a plain loop; watched if a watch is given."""
    optimizer = optimizer or torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for step, (x, y) in enumerate(batches(steps)):
        before(step)
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if watch is not None:
            watch.step(loss)
    return losses


def watched(folder: Path, steps: int = 30, **options: Any) -> Watch:
    """A watched training that has ended."""
    model = residual()
    with new_watch(model, folder, every=3, **options) as watch:
        train(model, steps, watch)
    return watch
