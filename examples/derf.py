"""A norm of your own: the error function (Chen et al. 2025, Derf, arXiv 2512.10938).

gradflow sweep 'plugins=[examples/derf.py]' network.norm=derf \\
    network.depth=8,14 network.skip=false,true seed=0,1,2
"""

import torch
from torch import Tensor, nn

import gradflow


class Derf(nn.Module):
    """weight * erf(alpha * x + shift) + bias, weight and bias per channel."""

    def __init__(self, size: int, dims: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(0.5))
        self.shift = nn.Parameter(torch.tensor(0.0))
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size))
        self.shape = (size, 1, 1) if dims == 2 else (size,)

    def forward(self, x: Tensor) -> Tensor:
        """The shape of x; channels are dimension 1 of images (dims=2), else the last."""
        y = self.weight.view(self.shape) * torch.erf(self.alpha * x + self.shift)
        return y + self.bias.view(self.shape)


@gradflow.register("norm", "derf")
def derf(size: int, dims: int) -> nn.Module:
    """Called for each norm of a network, with its channels."""
    return Derf(size, dims)
