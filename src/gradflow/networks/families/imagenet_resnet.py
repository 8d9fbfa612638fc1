"""The residual networks for ImageNet of He et al. 2015, table 1, and their plain twins.

stem    conv7x7 stride 2, norm, activation, max pool stride 2
blocks  four stages of unequal n; basic blocks up to depth 34, bottlenecks from 50 on
head    average pool, Linear
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from gradflow.config.blocks import BLOCKS, SHORTCUTS
from gradflow.config.convolutions import ConvolutionalConfig
from gradflow.config.registry import register
from gradflow.config.validation import choice, number

if TYPE_CHECKING:
    from gradflow.networks.network import Network

BY_DEPTH = "by_depth"
"""block= what table 1 has at the depth."""


@dataclass(frozen=True)
class ImageNetResNetConfig(ConvolutionalConfig):
    """He et al. 2015, table 1. The depth says which block; records have the block itself."""

    TASK: ClassVar[str] = "classify"
    ACTIVATES_EVERY_LAYER: ClassVar[bool] = True
    OUTPUTS: ClassVar[int] = 1000
    STAGES: ClassVar[dict[int, tuple[str, tuple[int, ...]]]] = {
        18: ("basic", (2, 2, 2, 2)),
        34: ("basic", (3, 4, 6, 3)),
        50: ("bottleneck", (3, 4, 6, 3)),
        101: ("bottleneck", (3, 4, 23, 3)),
        152: ("bottleneck", (3, 8, 36, 3)),
    }

    name: str = choice("imagenet_resnet")
    depth: int = number(18)
    width: int = number(64, at_least=1)
    block: str = choice(BY_DEPTH, table=BLOCKS)
    shortcut: str = choice("B", table=SHORTCUTS)

    def __post_init__(self) -> None:
        if self.depth not in list(self.STAGES):
            self.refuse("depth", f"choose one of {', '.join(map(str, self.STAGES))}")
        super().__post_init__()
        if self.block not in (BY_DEPTH, self.block_name()):
            self.refuse("block", f"depth={self.depth} is made of block={self.block_name()}")

    def block_name(self) -> str:
        """The block of table 1."""
        return self.STAGES[self.depth][0]

    def recorded(self) -> dict[str, Any]:
        """The options, with the block that the depth says."""
        return {**super().recorded(), "block": self.block_name()}


@register(ImageNetResNetConfig)
def imagenet_resnet(
    config: ImageNetResNetConfig, image_shape: tuple[int, int, int], outputs: int
) -> Network:
    """[B, C, H, W] -> [B, outputs]; 224 pixels become 112, then 56, 28, 14 and 7."""
    from torch import nn

    from gradflow.networks.layers import Weighted, layer_stack
    from gradflow.networks.resnet import resnet

    _, stages = config.STAGES[config.depth]
    stem = layer_stack("cna", config, image_shape[0], [Weighted(config.width, 7, 2)], dims=2)
    stem.append(nn.MaxPool2d(3, 2, padding=1))
    return resnet(config, stem, stages, outputs)
