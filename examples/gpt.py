"""A small GPT for a text: blocks of causal attention and of two layers, each x + F(norm(x)), and
no encoding of places, which causal attention can do without (Haviv et al. 2022).

gradflow sweep data=text task=next_token network=custom \\
    network.builder=examples/gpt.py:gpt network.depth=6,10 network.skip=false,true seed=0,1,2
"""

import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.norm, self.qkv = nn.LayerNorm(width), nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, width]: 4 heads; a place sees itself and those before it."""
        heads = self.qkv(self.norm(x)).unflatten(2, (3, 4, -1)).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(*heads, is_causal=True)
        return x + self.out(seen.transpose(1, 2).flatten(2))


class Layers(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def gpt(outputs: int, depth: int, width: int) -> nn.Module:
    """Tokens [B, T] -> logits [B, T, outputs], by depth - 2 blocks; width is a multiple of 4."""
    blocks: list[nn.Module] = [nn.Embedding(outputs, width)]
    for index in range(depth - 2):
        wide = nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        blocks.append(Layers(nn.LayerNorm(width), *wide) if index % 2 else Attention(width))
    return nn.Sequential(*blocks, nn.LayerNorm(width), nn.Linear(width, outputs))
