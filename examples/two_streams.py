"""A network of your own: two streams with hyper-connections (Zhu et al. 2024, static).

gradflow sweep network=custom network.builder=examples/two_streams.py:two_streams \\
    network.depth=8,14 network.skip=false,true seed=0,1,2
"""

from math import prod

import torch
from torch import Tensor, nn


class Hyper(nn.Module):
    """Reads a mixture of the streams, and adds its branch to a mixture of them."""

    stream_axis = 1  # of what goes in: the ledger has a share per stream

    def __init__(self, width: int, index: int, skip: bool):
        super().__init__()
        self.read = nn.Parameter(torch.eye(2)[index % 2])  # alpha: [2]
        self.write = nn.Parameter(torch.ones(2))  # beta: [2]
        self.mix = nn.Parameter(torch.eye(2).flatten())  # [4]: a vector, as no layer has it
        self.branch = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU())
        self.skip = skip

    def forward(self, streams: Tensor) -> Tensor:
        """[B, 2, width] -> [B, 2, width]; without skip the streams carry the branch alone."""
        branch = self.branch(torch.einsum("s,bsw->bw", self.read, streams))
        written = self.write[:, None] * branch[:, None]
        carried = torch.einsum("ts,bsw->btw", self.mix.view(2, 2), streams)
        return carried + written if self.skip else written


def two_streams(image_shape, outputs: int, depth: int, width: int, skip: bool) -> nn.Module:
    """[B, C, H, W] -> [B, outputs]: Linear, depth - 2 blocks, Linear of the streams' sum."""
    into = nn.Sequential(nn.Flatten(), nn.Linear(prod(image_shape), 2 * width))
    blocks = [Hyper(width, index, skip) for index in range(depth - 2)]
    out = nn.Sequential(nn.Flatten(), nn.Linear(2 * width, outputs))
    return nn.Sequential(into, nn.Unflatten(1, (2, width)), *blocks, out)
