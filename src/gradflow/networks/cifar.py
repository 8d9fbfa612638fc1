"""The 6n+2 family of He et al. 2015, section 4.2, plain and residual.

For 3x32x32 images and width w (16 in the paper); depth 6n+2 counts the weighted layers:

    part    layers                       output          parameters (w=16, BN, option A)
    stem    conv3x3, norm, ReLU          w   x 32 x 32
    blocks  n basic blocks               w   x 32 x 32   depth  20    269,722
            n basic blocks, stride 2     2w  x 16 x 16   depth  56    853,018
            n basic blocks, stride 2     4w  x  8 x  8   depth 110  1,727,962
    head    average pool, Linear         classes
"""

from torch import Tensor, nn

from gradflow.networks.blocks import basic_block, layer_stack


class ResNet(nn.Module):
    """A stem, a chain of blocks and a head: [B, C, H, W] -> [B, classes]."""

    def __init__(self, stem: nn.Module, blocks: nn.Sequential, head: nn.Module):
        super().__init__()
        self.stem = stem
        self.blocks = blocks
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.head(self.blocks(self.stem(x)))
        return y


def cifar_resnet(
    depth: int, width: int, skip: bool, norm: str, in_channels: int, classes: int
) -> ResNet:
    """The network of the table above; `depth` is 6n+2, `skip=False` builds the plain twin."""
    blocks_per_stage = (depth - 2) // 6
    blocks = []
    channels = width
    for stage in range(3):
        for position in range(blocks_per_stage):
            stride = 2 if stage > 0 and position == 0 else 1
            out_channels = width * 2**stage
            blocks.append(basic_block(channels, out_channels, stride, norm, skip))
            channels = out_channels
    return ResNet(
        layer_stack("cna", in_channels, width, 1, norm),
        nn.Sequential(*blocks),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)),
    )
