"""Fully connected networks of any depth, plain and residual.

    stem    flatten, Linear(features, w), norm, activation
    blocks  w -> w (identity) or -> widths[i] (projection), one or two Linear layers each:
            act(L2(act(L1(x))) + x) is layers=2, placement=original, norm=none
    head    Linear(w, outputs)

Depth counts the Linear layers of the longest path: 2n+2, or n+2 with one layer per block.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from gradflow.config.data import IMAGES, VECTORS
from gradflow.config.networks import INITIALIZATIONS, NORMS, BlockConfig
from gradflow.config.registry import register
from gradflow.config.validation import choice, number

if TYPE_CHECKING:
    from gradflow.networks.network import Network


@dataclass(frozen=True)
class MlpConfig(BlockConfig):
    """Fully connected blocks of one or two layers; a projection where the width changes."""

    TASK: ClassVar[str] = "classify"
    TAKES: ClassVar[tuple[str, ...]] = (IMAGES, VECTORS)
    FITS_IDENTITY: ClassVar[bool] = True
    ACTIVATES_EVERY_LAYER: ClassVar[bool] = True

    name: str = choice("mlp")
    depth: int = number(10, at_least=3)
    width: int = number(64, at_least=1)
    norm: str = choice("none", table=NORMS)
    initialization: str = choice("he_fan_in", table=INITIALIZATIONS)
    shortcut: str = choice("B", "A", "C")
    layers: int = number(2, at_least=1, at_most=2)
    widths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        n = self.blocks_per_stage(1)
        if self.widths and len(self.widths) != n:
            self.refuse("widths", f"depth={self.depth} has {n} blocks; give a width for each")
        if self.widths and min(self.widths) < 1:
            self.refuse("widths", "each must be >= 1")
        if self.initialization == "delta_orthogonal":
            self.refuse("initialization", "is for convolutions; use orthogonal")

    def layers_per_block(self) -> int:
        """`layers`."""
        return self.layers


@register(MlpConfig)
def mlp(config: MlpConfig, image_shape: tuple[int, ...], outputs: int) -> Network:
    """[B, C, H, W] or [B, features] -> [B, outputs]."""
    from torch import nn

    from gradflow.networks.blocks import make_block
    from gradflow.networks.layers import Weighted, layer_stack
    from gradflow.networks.network import Network

    features, total = math.prod(image_shape), config.blocks_per_stage(1)
    stem = layer_stack("cna", config, features, [Weighted(config.width)], dims=0)
    stem = nn.Sequential(OrderedDict(flatten=nn.Flatten(), **dict(stem.named_children())))
    blocks = []
    size = config.width
    for index, width in enumerate(config.widths or (config.width,) * total):
        weighted = [Weighted(width)] * config.layers
        blocks.append(make_block(config, size, weighted, index=index, total=total, dims=0))
        size = width
    head = layer_stack(config.placed().before, config, size, dims=0)
    head.append(nn.Linear(size, outputs))
    return Network(stem, blocks, head, config.checkpoint)
