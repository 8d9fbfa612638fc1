"""A U-Net of residual blocks (Ronneberger et al. 2015) that takes noise out of images.

n blocks in each of five stages, width w, an image of S pixels per side:

    stem    conv3x3, norm, activation       w  x S
    down    n blocks                        w  x S      ----------- long skip -----------.
            n blocks, first stride 2        2w x S/2    ------ long skip ------.         |
    middle  n blocks, first stride 2        4w x S/4                           |         |
    up      twice the pixels, long skip joined, n blocks  2w x S/2 <-----------'         |
            twice the pixels, long skip joined, n blocks  w  x S   <---------------------'
    head    conv3x3                         image channels

Depth counts weighted layers of the longest path: 10n+2 with basic blocks. The plain twin
keeps the long skips; only the blocks' own are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from gradflow.config.blocks import SHORTCUTS
from gradflow.config.convolutions import REPARAMETRIZED, ConvolutionalConfig
from gradflow.config.needs import Need
from gradflow.config.networks import DELTA_ORTHOGONAL
from gradflow.config.registry import register
from gradflow.config.validation import choice, number

if TYPE_CHECKING:
    from gradflow.networks.unet import UNet


@dataclass(frozen=True)
class UNetConfig(ConvolutionalConfig):
    """Two levels down and up again, n residual blocks each, long skips between; depth 10n+2."""

    TASK: ClassVar[str] = "denoise"
    UNGATED: ClassVar[str] = "B"  # on the way up, channels shrink
    STAGES: ClassVar[int] = 5

    name: str = choice("unet")
    depth: int = number(12, at_least=12)
    width: int = number(16, at_least=1)
    shortcut: str = choice("B", *(option for option in SHORTCUTS if option != "A"))

    def __post_init__(self) -> None:
        super().__post_init__()
        self.blocks_per_stage(self.STAGES)
        if self.block in REPARAMETRIZED:
            self.refuse("block", "is for networks whose channels never shrink; use basic")
        if self.initialization in DELTA_ORTHOGONAL:
            self.refuse("initialization", "needs outputs >= inputs, and the way up has fewer")

    def lacks(self) -> tuple[Need, ...]:
        """A chain of blocks: the long skips pass by some of them."""
        return ("chain", *super().lacks())


@register(UNetConfig)
def build(config: UNetConfig, image_shape: tuple[int, int, int], outputs: int) -> UNet:
    """[B, C, H, W] -> [B, C, H, W]; `outputs` are of no use to it."""
    from gradflow.networks.unet import unet

    return unet(config, image_shape, timed=False)
