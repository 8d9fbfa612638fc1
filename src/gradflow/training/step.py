"""One training step: forward, backward, measure, clip, update."""

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor, nn

from gradflow.probes import total_norm
from gradflow.training.recorder import Recorder
from gradflow.training.tasks import Task

Step = Callable[[Tensor, Tensor, Generator], Tensor]
"""(images, labels, generator of the task's noise) -> the step's values, [4] float64 on the
device: loss, error, the gradient's norm over all parameters before clipping and after."""


class EagerStep:
    """A step as PyTorch runs it, operation by operation; leaves no gradient behind."""

    def __init__(
        self,
        network: nn.Module,
        task: Task,
        optimizer: torch.optim.Optimizer,
        recorder: Recorder,
        clip_norm: float | None,
    ):
        self.network = network
        self.task = task
        self.optimizer = optimizer
        self.recorder = recorder
        self.clip_norm = clip_norm
        self.parameters = [p for p in network.parameters() if p.requires_grad]

    def __call__(self, images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        """`Step`: the loss and its gradient, what is measured, and the update of the weights."""
        loss, error = self.task(self.network, images, labels, generator)
        loss.backward()
        with self.recorder.account():
            norms = clip(self.parameters, self.clip_norm)
            values = torch.stack([value.detach().double() for value in (loss, error, *norms)])
        self.optimizer.step()
        self.recorder.probes.finish()
        self.optimizer.zero_grad()
        return values


def clip(parameters: Sequence[Tensor], limit: float | None) -> tuple[Tensor, Tensor]:
    """Scale the gradient of all parameters down to the norm `limit`; its norm before and after."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = total_norm(gradients)
    if limit is None:
        return norm, norm
    torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return norm, total_norm(gradients)
