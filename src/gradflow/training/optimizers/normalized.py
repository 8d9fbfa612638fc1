"""Steps of a given share of each tensor's norm (after You et al. 2017, LARS)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradflow.config.optimizers import OptimizerConfig
from gradflow.config.registry import register
from gradflow.config.validation import choice, number

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer


@dataclass(frozen=True)
class NormalizedConfig(OptimizerConfig):
    """Steps of a given share of each tensor's norm (after You et al. 2017, LARS)."""

    name: str = choice("normalized")
    learning_rate: float = number(0.01, above=0)
    momentum: float = number(0.9, at_least=0, below=1)


@register(NormalizedConfig)
def normalized(
    config: NormalizedConfig, parameters: Sequence[nn.Parameter], learning_rate: float | Tensor
) -> Optimizer:
    """`training.layer_steps.Normalized`."""
    from gradflow.training.layer_steps import Normalized

    return Normalized(parameters, learning_rate, config.weight_decay, config.momentum)
