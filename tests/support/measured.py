"""Small networks measured in one line, for the tests of probes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradflow.networks.blocks import Block
from gradflow.networks.network import Network
from gradflow.probes import Probes


def linear_chain(weights: list[np.ndarray], skip: bool) -> Network:
    """A network of bias-free Linear layers: stem, one a block, head; float64."""
    layers = []
    for weight in weights:
        outputs, inputs = weight.shape
        layer = nn.Linear(inputs, outputs, bias=False).double()
        layer.weight = nn.Parameter(torch.from_numpy(weight.copy()))
        layers.append(layer)
    blocks = [Block(layer, nn.Identity(), nn.Identity(), skip) for layer in layers[1:-1]]
    return Network(layers[0], blocks, layers[-1], checkpointed=False)


def frames(probes: Probes) -> dict[str, pd.DataFrame]:
    return {name: table.to_pandas() for name, table in probes.tables().items()}


def measure(
    network: nn.Module, loss_of: Callable[[], Tensor], *, details: bool = False, **options: Any
) -> dict[str, pd.DataFrame]:
    """The tables of one forward and backward pass."""
    with Probes(network, **options) as probes:
        probes.arm(0, details=details)
        loss_of().backward()
    return frames(probes)


def cross_entropy(network: nn.Module, images: Tensor) -> Tensor:
    return F.cross_entropy(network(images), torch.arange(len(images)) % 10)
