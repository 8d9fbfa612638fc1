"""The elementwise activations, by name: () -> module. "identity" makes a linear network."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gradflow.config.networks import ACTIVATIONS

if TYPE_CHECKING:
    from torch import nn

IN_TORCH = {
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU",
    "tanh": "Tanh",
    "gelu": "GELU",
    "silu": "SiLU",
    "identity": "Identity",
}
"""activation -> its class in torch.nn."""


def from_torch(kind: str) -> nn.Module:
    """A module of torch.nn, by its class's name."""
    from torch import nn

    made: nn.Module = getattr(nn, kind)()
    return made


for _name, _kind in IN_TORCH.items():
    ACTIVATIONS.add(_name, partial(from_torch, _kind))
