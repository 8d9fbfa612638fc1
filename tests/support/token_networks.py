"""Builders of networks of tokens and of vectors: `network.builder=tests...:name`."""

from typing import Any

import torch
from torch import Tensor, nn


class Causal(nn.Module):
    """x + relu(W norm(the mean of x up to here)): no token sees a later one."""

    def __init__(self, width: int):
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.cumsum(dim=1) / torch.arange(1, x.shape[1] + 1)[:, None]
        branch: Tensor = self.linear(self.norm(mean)).relu()
        return x + branch


def causal(image_shape: Any, outputs: int, depth: int, width: int) -> nn.Module:
    """[B, context] -> [B, context, outputs]."""
    blocks = [Causal(width) for _ in range(depth - 2)]
    return nn.Sequential(nn.Embedding(outputs, width), *blocks, nn.Linear(width, outputs))


def bigram(outputs: int) -> nn.Module:
    """The logits of the next token are a row of a table, which starts at zero."""
    table = nn.Embedding(outputs, outputs)
    nn.init.zeros_(table.weight)
    return table


def pooled(outputs: int) -> nn.Module:
    """[B, context] -> [B, outputs], which is no prediction at each place."""
    return nn.Sequential(nn.EmbeddingBag(outputs, 4), nn.Linear(4, outputs))


def linear(image_shape: Any, outputs: int) -> nn.Module:
    """[B, features] -> [B, outputs], which starts at zero."""
    layer = nn.Linear(image_shape[0], outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
