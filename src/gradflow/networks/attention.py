"""Attention of tokens to each other."""

import torch.nn.functional as F
from torch import Tensor, nn

from gradflow.config.networks import NORMS


class SelfAttention(nn.Module):
    """Multi-head attention of tokens to each other (Vaswani et al. 2017, section 3.2).

    [B, T, C] -> [B, T, C]. Queries and keys ("qk"), or values too ("qkv"), may have a norm over
    each head's features (Henry et al. 2020, QK-norm, with the network's norm in place of the L2
    norm; Zhuo et al. 2025, HybridNorm).

    Args:
        norm: of NORMS.
        normed: which of q, k and v have one.
        causal: a token attends to itself and those before it.
    """

    def __init__(self, size: int, bias: bool, *, heads: int, norm: str, normed: str, causal: bool):
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.norms = nn.ModuleDict({letter: NORMS[norm](size // heads, 1) for letter in normed})
        self.query_key_value = nn.Linear(size, 3 * size, bias=bias)
        self.output = nn.Linear(size, size, bias=bias)

    def forward(self, x: Tensor, first: Tensor | None = None) -> Tensor:
        """The mixed tokens.

        Args:
            first: values [B, T, C] of another attention, which this one's are averaged with.
        """
        batch, tokens, size = x.shape
        query, key, value = self.query_key_value(x).chunk(3, dim=-1)
        if first is not None:
            value = (value + first) / 2
        parts = []  # each [B, heads, T, C / heads]
        for letter, part in zip("qkv", (query, key, value), strict=True):
            split = part.view(batch, tokens, self.heads, size // self.heads)
            if letter in self.norms:
                split = self.norms[letter](split)
            parts.append(split.transpose(1, 2))
        query, key, value = parts
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        y: Tensor = self.output(mixed.transpose(1, 2).reshape(batch, tokens, size))
        return y

    def values(self, x: Tensor) -> Tensor:
        """What `first` of another attention takes: the values of x, before any norm."""
        layer, size = self.query_key_value, x.shape[-1]
        bias = None if layer.bias is None else layer.bias[-size:]
        return F.linear(x, layer.weight[-size:], bias)
