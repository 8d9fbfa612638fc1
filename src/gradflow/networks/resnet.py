"""What the residual networks for images have in common: stages of blocks, each half as large."""

from collections.abc import Sequence

from torch import nn

from gradflow.config.convolutions import ConvolutionalConfig
from gradflow.networks.blocks import Block, block_layers, make_block
from gradflow.networks.layers import layer_stack
from gradflow.networks.network import Network


def resnet(
    config: ConvolutionalConfig, stem: nn.Sequential, stages: Sequence[int], outputs: int
) -> Network:
    """[B, C, H, W] -> [B, outputs].

    Args:
        stem: puts out `config.width` channels.
        stages: the number of blocks of each; every one but the first halves the image and has
            twice the width.
    """
    blocks: list[Block] = []
    size = config.width
    for stage, count in enumerate(stages):
        for position in range(count):
            stride = 2 if stage > 0 and position == 0 else 1
            weighted = block_layers(config.block_name(), config.width * 2**stage, stride)
            blocks.append(
                make_block(config, size, weighted, index=len(blocks), total=sum(stages), dims=2)
            )
            size = weighted[-1].size
    head = layer_stack(config.placed().before, config, size, dims=2)
    head.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(size, outputs)])
    return Network(stem, blocks, head, config.checkpoint)
