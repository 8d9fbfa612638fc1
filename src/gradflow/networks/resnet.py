"""Residual networks for images, plain and residual: the CIFAR family and the ImageNet family.

CIFAR (He et al. 2015, section 4.2), width w, n blocks a stage, three stages:

    part    layers                       output          parameters (w=16, BN, option A)
    stem    conv3x3, norm, ReLU          w   x 32 x 32
    blocks  n blocks                     w   x 32 x 32   depth  20     269,722
            n blocks, first stride 2     2w  x 16 x 16   depth  56     853,018
            n blocks, first stride 2     4w  x  8 x  8   depth 110   1,727,962
    head    average pool, Linear         classes         depth 1202 19,421,274

Four stages and w=64 make the CIFAR ResNet-18; w=32, n=2 and option B the small ResNet.
ImageNet (He et al. 2015, table 1) has another stem: conv7x7 stride 2, norm, ReLU, max pool
stride 2, and four stages of unequal n. Bottlenecks put out four times their width.
"""

from collections.abc import Sequence

from torch import nn

from gradflow.config.networks import CifarResNetConfig, ConvolutionalConfig, ImageNetResNetConfig
from gradflow.networks.blocks import Block, make_block, preactivation
from gradflow.networks.layers import Weighted, layer_stack
from gradflow.networks.network import Network

EXPANSION = 4  # of a bottleneck's outputs over its 3x3 convolution's


def cifar_resnet(config: CifarResNetConfig, channels: int, outputs: int) -> Network:
    """[B, channels, H, W] -> [B, outputs]."""
    stages = [config.blocks_per_stage(config.stages)] * config.stages
    stem = layer_stack("cna", config, channels, [Weighted(config.width)], dims=2)
    return _resnet(config, stem, stages, outputs)


def imagenet_resnet(config: ImageNetResNetConfig, channels: int, outputs: int) -> Network:
    """[B, channels, H, W] -> [B, outputs]; 224 pixels become 112, then 56, 28, 14 and 7."""
    _, stages = config.STAGES[config.depth]
    stem = layer_stack("cna", config, channels, [Weighted(config.width, 7, 2)], dims=2)
    stem.append(nn.MaxPool2d(3, 2, padding=1))
    return _resnet(config, stem, stages, outputs)


def _resnet(
    config: ConvolutionalConfig, stem: nn.Sequential, stages: Sequence[int], outputs: int
) -> Network:
    blocks: list[Block] = []
    size = config.width
    for stage, count in enumerate(stages):
        for position in range(count):
            stride = 2 if stage > 0 and position == 0 else 1
            weighted = block_layers(config.block, config.width * 2**stage, stride)
            blocks.append(
                make_block(config, size, weighted, index=len(blocks), total=sum(stages), dims=2)
            )
            size = weighted[-1].size
    head = layer_stack(preactivation(config), config, size, dims=2)
    head.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(size, outputs)])
    return Network(stem, blocks, head, config.checkpoint)


def block_layers(block: str, width: int, stride: int) -> list[Weighted]:
    """basic: two 3x3, stride on the first (fig. 5 left); bottleneck: 1x1 reduce, 3x3 with the
    stride, 1x1 restore to four times the width (fig. 5 right)."""
    if block == "basic":
        return [Weighted(width, 3, stride), Weighted(width, 3)]
    return [Weighted(width, 1), Weighted(width, 3, stride), Weighted(EXPANSION * width, 1)]
