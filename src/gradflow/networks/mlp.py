"""Fully connected networks of any depth, plain and residual.

    stem    flatten, Linear(features, w), norm, activation
    blocks  w -> w (identity) or -> widths[i] (projection), one or two Linear layers each:
            act(L2(act(L1(x))) + x) is layers=2, placement=original, norm=none
    head    Linear(w, outputs)

Depth counts the Linear layers of the longest path: 2n+2, or n+2 with one layer a block.
"""

from collections import OrderedDict

from torch import nn

from gradflow.config.networks import MlpConfig
from gradflow.networks.blocks import make_block, preactivation
from gradflow.networks.layers import Weighted, layer_stack
from gradflow.networks.network import Network


def mlp(config: MlpConfig, features: int, outputs: int) -> Network:
    """[B, ...] with `features` numbers an example -> [B, outputs]."""
    total = config.blocks_per_stage(1)
    stem = layer_stack("cna", config, features, [Weighted(config.width)], dims=0)
    stem = nn.Sequential(OrderedDict(flatten=nn.Flatten(), **dict(stem.named_children())))
    blocks = []
    size = config.width
    for index, width in enumerate(config.widths or (config.width,) * total):
        weighted = [Weighted(width)] * config.layers
        blocks.append(make_block(config, size, weighted, index=index, total=total, dims=0))
        size = width
    head = layer_stack(preactivation(config), config, size, dims=0)
    head.append(nn.Linear(size, outputs))
    return Network(stem, blocks, head, config.checkpoint)
