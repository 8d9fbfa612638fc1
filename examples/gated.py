"""A block of your own in a family of your own: y = x + g(x) * F(x), g a sigmoid.
gradflow sweep 'plugins=[examples/gated.py]' network=gated network.skip=false,true
"""

import math
from dataclasses import dataclass

from torch import Tensor, nn

import gradflow
from gradflow.config.networks import NetworkConfig
from gradflow.config.validation import choice, number
from gradflow.networks import Network
from gradflow.networks.blocks import Block


@dataclass(frozen=True)
class GatedConfig(NetworkConfig):
    TASK = "classify"
    name: str = choice("gated")
    depth: int = number(8, at_least=3)
    width: int = number(32, at_least=1)
    gate_bias: float = -2.0


class Gated(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return (self[0](x) + self.gate_bias).sigmoid() * self[1](x).relu()


@gradflow.register(GatedConfig)
def gated(config: GatedConfig, image_shape: tuple[int, ...], outputs: int) -> Network:
    """[B, C, H, W] -> [B, outputs]: Linear, depth - 2 gated blocks, Linear."""
    width, blocks = config.width, []
    for _ in range(config.depth - 2):
        branch = Gated(nn.Linear(width, width), nn.Linear(width, width))
        branch.gate_bias = config.gate_bias  # not the layer's own, which is drawn as 0
        blocks.append(Block(branch, nn.Identity(), nn.Identity(), config.skip))
    stem = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(image_shape), width))
    return Network(stem, blocks, nn.Linear(width, outputs), config.checkpoint)
