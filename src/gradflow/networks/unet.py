"""The modules of a U-Net: the network with its long skips, and the path of a diffusion's time."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradflow.config.convolutions import ConvolutionalConfig
from gradflow.config.networks import ACTIVATIONS
from gradflow.networks.blocks import Block, block_layers, make_block
from gradflow.networks.layers import Weighted, layer_stack
from gradflow.networks.network import Network

STAGES = (1, 2, 4, 2, 1)
"""The width of each stage over the first one's."""


class UNet(Network):
    """[B, C, H, W] -> [B, C, H, W]; the diffusion form also takes times [B], 0 ... 1.

    Attributes:
        stage_starts: the index of the first block of each of the five stages.
        time: the embedding of times, or None.
    """

    def __init__(
        self,
        stem: nn.Module,
        blocks: list[Block],
        head: nn.Module,
        checkpointed: bool,
        stage_starts: list[int],
        time: nn.Module | None,
    ):
        super().__init__(stem, blocks, head, checkpointed)
        self.stage_starts = stage_starts
        self.time = time
        # It runs first, and layers are counted in the order in which they stand here.
        self._modules = {"time": time, **self._modules}

    def forward(self, x: Tensor, *times: Tensor) -> Tensor:
        """The image that the network puts out."""
        context = () if self.time is None else (self.time(*times),)
        x = self.stem(x)
        down: list[Tensor] = []
        for index in range(len(self.blocks)):
            if index in self.stage_starts[1:3]:
                down.append(x)
            elif index in self.stage_starts[3:]:
                x = torch.cat([F.interpolate(x, scale_factor=2.0), down.pop()], dim=1)
            x = self.run_blocks(slice(index, index + 1), x, *context)
        y: Tensor = self.head(x)
        return y


class TimedBranch(nn.Module):
    """A branch with the time's projection added after its first weighted layer's stack."""

    def __init__(self, branch: nn.Sequential, time_size: int):
        super().__init__()
        names = [name for name, _ in branch.named_children()]
        middle = names.index("conv1") + 1
        channels = len(branch.get_submodule("conv1").get_parameter("weight"))
        self.before = branch[:middle]
        self.time = nn.Linear(time_size, channels)
        self.after = branch[middle:]

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """F of x at an embedded time."""
        y: Tensor = self.after(self.before(x) + self.time(time)[:, :, None, None])
        return y


class TimeEmbedding(nn.Module):
    """Times [B] in 0 ... 1 -> [B, size]: sines and cosines of rising frequency (Vaswani et
    al. 2017, section 3.5), a Linear layer and an activation."""

    def __init__(self, size: int, activation: str):
        super().__init__()
        frequencies = torch.exp(torch.linspace(0, math.log(1000), size // 2))
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.linear = nn.Linear(2 * (size // 2), size)
        self.act = ACTIVATIONS[activation]()

    def forward(self, times: Tensor) -> Tensor:
        """The embedding."""
        angles = times[:, None] * self.get_buffer("frequencies")
        y: Tensor = self.act(self.linear(torch.cat([angles.sin(), angles.cos()], dim=1)))
        return y


def unet(config: ConvolutionalConfig, image: tuple[int, int, int], *, timed: bool) -> UNet:
    """The network of gradflow.networks.families.unet; `timed`: with TimedBranch in every block.

    Raises:
        GradflowError: the image's sides are not divisible by 4.
    """
    channels, height, width = image
    if height % 4 or width % 4:
        config.refuse("name", f"halves the image twice; its sides {height} and {width} must be 4n")
    n = config.blocks_per_stage(len(STAGES))
    blocks: list[Block] = []
    size = config.width
    sizes: list[int] = []  # what each stage puts out
    for stage, factor in enumerate(STAGES):
        if stage >= 3:
            size += sizes[4 - stage]
        for position in range(n):
            stride = 2 if stage in (1, 2) and position == 0 else 1
            layers = block_layers(config.block_name(), factor * config.width, stride)
            made = make_block(config, size, layers, index=len(blocks), total=5 * n, dims=2)
            if timed:
                assert isinstance(made.branch, nn.Sequential)
                made.branch = TimedBranch(made.branch, 4 * config.width)
            blocks.append(made)
            size = layers[-1].size
        sizes.append(size)
    stem = layer_stack("cna", config, channels, [Weighted(config.width)], dims=2)
    head = layer_stack(config.placed().before, config, size, dims=2)
    head.append(nn.Conv2d(size, channels, 3, padding=1))
    time = TimeEmbedding(4 * config.width, config.activation) if timed else None
    return UNet(stem, blocks, head, config.checkpoint, [n * i for i in range(5)], time)
