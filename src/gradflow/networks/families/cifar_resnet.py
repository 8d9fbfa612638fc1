"""The residual networks for small images of He et al. 2015, section 4.2, and their plain twins.

Width w, n blocks per stage, three stages:

    part    layers                       output          parameters (w=16, BN, option A)
    stem    conv3x3, norm, ReLU          w   x 32 x 32
    blocks  n blocks                     w   x 32 x 32   depth  20     269,722
            n blocks, first stride 2     2w  x 16 x 16   depth  56     853,018
            n blocks, first stride 2     4w  x  8 x  8   depth 110   1,727,962
    head    average pool, Linear         classes         depth 1202 19,421,274

Four stages and w=64 make the CIFAR ResNet-18; w=32, n=2 and option B the small ResNet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from gradflow.config.convolutions import ConvolutionalConfig
from gradflow.config.registry import register
from gradflow.config.validation import choice, number

if TYPE_CHECKING:
    from gradflow.networks.network import Network


@dataclass(frozen=True)
class CifarResNetConfig(ConvolutionalConfig):
    """He et al. 2015, section 4.2: 6n+2 (basic), 9n+2 (bottleneck); `stages` of n blocks."""

    TASK: ClassVar[str] = "classify"
    ACTIVATES_EVERY_LAYER: ClassVar[bool] = True

    name: str = choice("cifar_resnet")
    depth: int = number(20, at_least=8)
    width: int = number(16, at_least=1)
    stages: int = number(3, at_least=1, at_most=4)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.blocks_per_stage(self.stages)


@register(CifarResNetConfig)
def cifar_resnet(
    config: CifarResNetConfig, image_shape: tuple[int, int, int], outputs: int
) -> Network:
    """[B, C, H, W] -> [B, outputs]."""
    from gradflow.networks.layers import Weighted, layer_stack
    from gradflow.networks.resnet import resnet

    stages = [config.blocks_per_stage(config.stages)] * config.stages
    stem = layer_stack("cna", config, image_shape[0], [Weighted(config.width)], dims=2)
    return resnet(config, stem, stages, outputs)
