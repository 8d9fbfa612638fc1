"""Images and texts as tokens, and tokens as one vector: the ends of a transformer."""

import torch
from torch import Tensor, nn


class PatchEmbedding(nn.Module):
    """[B, C, H, W] -> [B, T, size]: a Linear layer of each patch, plus its position.

    Attributes:
        then: what follows, if anything does.
    """

    def __init__(self, image: tuple[int, int, int], patch: int, size: int):
        super().__init__()
        channels, height, width = image
        self.linear = nn.Conv2d(channels, size, patch, patch)
        tokens = (height // patch) * (width // patch)
        self.position = nn.Parameter(torch.zeros(tokens, size))
        self.then = nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        """The tokens of the images."""
        y: Tensor = self.then(self.linear(x).flatten(2).transpose(1, 2) + self.position)
        return y


class TokenEmbedding(nn.Module):
    """[B, T] -> [B, T, size]: a vector per token, plus its position.

    Attributes:
        then: what follows, if anything does.
    """

    def __init__(self, kinds: int, tokens: int, size: int):
        super().__init__()
        self.embedding = nn.Embedding(kinds, size)
        self.position = nn.Parameter(torch.zeros(tokens, size))
        self.then = nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        """The vectors of whole numbers, of whatever type; shorter texts than T are fine."""
        tokens = x.flatten(start_dim=1).long()
        y: Tensor = self.then(self.embedding(tokens) + self.position[: tokens.shape[1]])
        return y


class MeanOverTokens(nn.Module):
    """[B, T, C] -> [B, C]."""

    def forward(self, x: Tensor) -> Tensor:
        """The mean."""
        return x.mean(dim=1)
