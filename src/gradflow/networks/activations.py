"""The elementwise activations, by name: () -> module. "identity" makes a linear network.

tailored_relu alone is a function of the network's config: its slope depends on the depth.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gradflow.config.networks import ACTIVATIONS, NetworkConfig

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


@ACTIVATIONS.named("tailored_relu")
def tailored_relu(config: NetworkConfig) -> nn.Module:
    """`gradflow.networks.layers.TailoredReLU` of a network of depth - 1 activations."""
    from gradflow.networks.layers import TailoredReLU
    from gradflow.theory.shaped import tailored_slope

    return TailoredReLU(tailored_slope(config.depth - 1))


def make_activation(config: NetworkConfig) -> nn.Module:
    """The activation of a network."""
    make = ACTIVATIONS[config.activation]
    made: nn.Module = make(config) if make is tailored_relu else make()
    return made
