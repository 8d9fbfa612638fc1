"""Stochastic gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradflow.config.optimizers import OptimizerConfig
from gradflow.config.registry import register
from gradflow.config.validation import choice, number
from gradflow.training.optimizers import uncompiled

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer


@dataclass(frozen=True)
class SGDConfig(OptimizerConfig):
    """Stochastic gradient descent with momentum."""

    name: str = choice("sgd")
    learning_rate: float = number(0.05, above=0)
    momentum: float = number(0.9, at_least=0, below=1)


@register(SGDConfig)
def sgd(
    config: SGDConfig, parameters: Sequence[nn.Parameter], learning_rate: float | Tensor
) -> Optimizer:
    """torch.optim.SGD, fused."""
    import torch

    return uncompiled(
        torch.optim.SGD,
        parameters,
        lr=learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        fused=True,
    )
