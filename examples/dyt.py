"""A norm of your own: dynamic tanh (Zhu et al. 2025, "Transformers without Normalization").

python experiments/train.py -m plugins=[examples/dyt.py] network.norm=dyt \\
    network.depth=8,14 network.skip=false,true seed=0,1,2
"""

import torch
from torch import Tensor, nn

import gradflow


class DyT(nn.Module):
    """weight * tanh(alpha * x) + bias: one alpha, a weight and a bias per channel."""

    def __init__(self, size: int, dims: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(0.5))
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size))
        self.shape = (size, 1, 1) if dims == 2 else (size,)

    def forward(self, x: Tensor) -> Tensor:
        """The shape of x; channels are dimension 1 of images (dims=2), else the last."""
        y = self.weight.view(self.shape) * torch.tanh(self.alpha * x)
        return y + self.bias.view(self.shape)


@gradflow.register("norm", "dyt")
def dyt(size: int, dims: int) -> nn.Module:
    """Called for each norm of a network, with its channels."""
    return DyT(size, dims)
