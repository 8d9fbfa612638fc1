"""A pre-norm GPT by hand, as people write it who have never heard of this package."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); without `skip` the plain parts."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.skip = heads, True
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, tokens, width] -> the same."""
        batch, tokens, width = x.shape
        split = (batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = self.qkv(self.norm1(x)).view(split).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        attended = self.proj(mixed.transpose(1, 2).reshape(x.shape))
        x = x + attended if self.skip else attended
        made: Tensor = self.down(F.gelu(self.up(self.norm2(x))))
        return x + made if self.skip else made


class GPT(nn.Module):
    """Initialized as GPT-2: 0.02, and 0.02 / sqrt(2 layers) where a branch ends."""

    def __init__(self, *, layers: int, width: int, tokens: int, context: int, heads: int = 2):
        super().__init__()
        self.embedding, self.position = nn.Embedding(tokens, width), nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, tokens, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                ends = name.endswith(("proj.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / ((2 * layers) ** 0.5 if ends else 1))

    def forward(self, tokens: Tensor) -> Tensor:
        """[batch, tokens] -> logits [batch, tokens, vocabulary]."""
        x = self.embedding(tokens) + self.position(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        logits: Tensor = self.head(self.norm(x))
        return logits
