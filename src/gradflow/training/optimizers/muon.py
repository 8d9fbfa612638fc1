"""Momentum orthogonalized layer by layer (Jordan et al. 2024, Muon)."""

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
class MuonConfig(OptimizerConfig):
    """Momentum orthogonalized layer by layer (Jordan et al. 2024, Muon)."""

    name: str = choice("muon")
    learning_rate: float = number(0.01, above=0)
    momentum: float = number(0.95, at_least=0, below=1)


@register(MuonConfig)
def muon(
    config: MuonConfig, parameters: Sequence[nn.Parameter], learning_rate: float | Tensor
) -> Optimizer:
    """`training.layer_steps.Muon`; biases, gains and other vectors get AdamW."""
    from gradflow.training.layer_steps import Muon

    return Muon(parameters, float(learning_rate), config.weight_decay, config.momentum)
