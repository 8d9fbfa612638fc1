"""The norms, by name: (size, dims) -> module, for images (dims=2), tokens (1) or vectors (0)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from gradflow.config.networks import NORMS

if TYPE_CHECKING:
    from torch import nn

CHANNEL_GROUPS = 8  # of group norm, or as many as divide the channels


@NORMS.named("batch")
def batch(size: int, dims: int) -> nn.Module:
    """Over the batch, and over pixels (Ioffe and Szegedy 2015)."""
    from torch import nn

    return nn.BatchNorm2d(size) if dims == 2 else nn.BatchNorm1d(size)


@NORMS.named("none")
def none(size: int, dims: int) -> nn.Module:
    """No norm; `layer_stack` leaves the layer out."""
    from torch import nn

    return nn.Identity()


@NORMS.named("layer")
def layer(size: int, dims: int) -> nn.Module:
    """Over all but the batch; of tokens, over features (Ba et al. 2016)."""
    from torch import nn

    return nn.GroupNorm(1, size) if dims == 2 else nn.LayerNorm(size)


@NORMS.named("group")
def group(size: int, dims: int) -> nn.Module:
    """Over groups of channels (Wu and He 2018)."""
    from torch import nn

    return nn.GroupNorm(math.gcd(size, CHANNEL_GROUPS), size)


@NORMS.named("rms")
def rms(size: int, dims: int) -> nn.Module:
    """`gradflow.networks.layers.RMSNorm`."""
    from gradflow.networks.layers import RMSNorm

    return RMSNorm(size, dims)


@NORMS.named("dyt")
def dyt(size: int, dims: int) -> nn.Module:
    """`gradflow.networks.layers.DynamicTanh`."""
    from gradflow.networks.layers import DynamicTanh

    return DynamicTanh(size, dims)
