"""A small vision transformer (Dosovitskiy et al. 2021) of residual attention and MLP blocks.

    stem    patches of p x p pixels, Linear to w, plus a learned position each: [B, T, w]
    blocks  in turn  attention: x + Attention(norm(x))      pre_norm  (Xiong et al. 2020)
                     MLP:       x + MLP(norm(x))            w -> 4w -> w
            post_norm: norm(x + Attention(x)), norm(x + MLP(x))       (Vaswani et al. 2017)
    head    norm (pre_norm only), mean over tokens, Linear

Depth counts weighted layers: four a pair of blocks, the stem and the head: 4n+2. The plain
twin leaves out both additions of every pair.
"""

import torch
from torch import Tensor, nn

from gradflow.config.networks import TransformerConfig
from gradflow.networks.blocks import Block, scaled
from gradflow.networks.layers import Weighted, layer_stack
from gradflow.networks.network import Network

PLACEMENTS = {"pre_norm": ("nt", "ncac", ""), "post_norm": ("t", "cac", "n")}
"""placement -> attention branch, MLP branch, after the addition."""


class PatchEmbedding(nn.Module):
    """[B, C, H, W] -> [B, T, size]: a Linear layer of each patch, plus its position."""

    def __init__(self, image: tuple[int, int, int], patch: int, size: int):
        super().__init__()
        channels, height, width = image
        self.linear = nn.Conv2d(channels, size, patch, patch)
        tokens = (height // patch) * (width // patch)
        self.position = nn.Parameter(torch.zeros(tokens, size))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(x).flatten(2).transpose(1, 2) + self.position
        return y


class MeanOverTokens(nn.Module):
    """[B, T, C] -> [B, C]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(dim=1)


def transformer(config: TransformerConfig, image: tuple[int, int, int], outputs: int) -> Network:
    """[B, C, H, W] -> [B, outputs]; `config.patch` divides the image's sides.

    Raises:
        GradflowError: it does not.
    """
    if image[1] % config.patch or image[2] % config.patch:
        config.refuse("patch", f"must divide the image's sides, {image[1]} and {image[2]}")
    width, total = config.width, 2 * config.blocks_per_stage(1)
    attention, mlp, after = PLACEMENTS[config.placement]
    blocks = []
    for index in range(total):
        spec = mlp if index % 2 else attention
        branch = layer_stack(spec, config, width, [Weighted(4 * width), Weighted(width)], dims=1)
        blocks.append(
            Block(
                scaled(branch, config, width, index=index, total=total, dims=1),
                nn.Identity(),
                layer_stack(after, config, width, dims=1),
                config.skip,
                name=f"blocks.{index}",
            )
        )
    head = layer_stack("n" if config.placement == "pre_norm" else "", config, width, dims=1)
    head.extend([MeanOverTokens(), nn.Linear(width, outputs)])
    return Network(PatchEmbedding(image, config.patch, width), blocks, head, config.checkpoint)
