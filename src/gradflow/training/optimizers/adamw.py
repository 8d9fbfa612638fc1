"""Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

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
class AdamWConfig(OptimizerConfig):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    name: str = choice("adamw")
    learning_rate: float = number(1e-3, above=0)
    weight_decay: float = number(1e-2, at_least=0)
    beta1: float = number(0.9, at_least=0, below=1)
    beta2: float = number(0.999, at_least=0, below=1)


@register(AdamWConfig)
def adamw(
    config: AdamWConfig, parameters: Sequence[nn.Parameter], learning_rate: float | Tensor
) -> Optimizer:
    """torch.optim.AdamW, fused."""
    import torch

    return uncompiled(
        torch.optim.AdamW,
        parameters,
        lr=learning_rate,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=True,
    )
