"""Networks as twins: plain and residual differ in one expression."""

import torch
from torch import nn

from gradflow.config.schema import CifarResNetConfig, NetworkConfig
from gradflow.networks.cifar import ResNet, cifar_resnet
from gradflow.networks.initialization import initialize

__all__ = ["ResNet", "build_network", "count_parameters"]


def build_network(config: NetworkConfig, in_channels: int, classes: int, seed: int) -> ResNet:
    """The network that `config` describes, initialised from `seed`, in float32 on the CPU.

    Two configs that differ in `skip` alone give networks with the same tensor names,
    shapes and values. Torch's global random state is left untouched.
    """
    assert isinstance(config, CifarResNetConfig)
    with torch.random.fork_rng(devices=[]):  # torch's own initialisation draws from it
        network = cifar_resnet(
            config.depth, config.width, config.skip, config.norm, in_channels, classes
        )
    initialize(network, seed)
    return network


def count_parameters(network: nn.Module) -> int:
    """The number of trainable scalars."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
