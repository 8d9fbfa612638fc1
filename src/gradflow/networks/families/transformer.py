"""A small vision transformer (Dosovitskiy et al. 2021) of residual attention and MLP blocks.

    stem    patches of p x p pixels, Linear to w, plus a learned position each: [B, T, w]
    blocks  in turn  attention: x + Attention(norm(x))      pre_norm  (Xiong et al. 2020)
                     MLP:       x + MLP(norm(x))            w -> 4w -> w
            other placements and connections: gradflow.config.transformers
    head    norm (not of post_norm), mean over tokens, Linear

Depth counts weighted layers: four per pair of blocks, the stem and the head: 4n+2. The plain
twin leaves out both additions of every pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from gradflow.config.registry import register
from gradflow.config.transformers import ADDED_LATER, AttentionConfig
from gradflow.config.validation import choice, number

if TYPE_CHECKING:
    from gradflow.networks.network import Network


@dataclass(frozen=True)
class TransformerConfig(AttentionConfig):
    """Attention and MLP blocks in turn over image patches; depth 4n+2."""

    TASK: ClassVar[str] = "classify"

    name: str = choice("transformer")
    patch: int = number(2, at_least=1)

    def recorded(self) -> dict[str, Any]:
        """Without options added later at their defaults, so that ids of earlier runs stay."""
        recorded = super().recorded()
        same = [key for key, value in ADDED_LATER.items() if recorded[key] == value]
        return {key: value for key, value in recorded.items() if key not in same}


@register(TransformerConfig)
def transformer(
    config: TransformerConfig, image_shape: tuple[int, int, int], outputs: int
) -> Network:
    """[B, C, H, W] -> [B, outputs]; `config.patch` divides the image's sides.

    Raises:
        GradflowError: it does not.
    """
    from torch import nn

    from gradflow.networks.attention_blocks import attention_network
    from gradflow.networks.tokens import MeanOverTokens, PatchEmbedding

    _, height, width = image_shape
    if height % config.patch or width % config.patch:
        config.refuse("patch", f"must divide the image's sides, {height} and {width}")
    stem = PatchEmbedding(image_shape, config.patch, config.width)
    head = [MeanOverTokens(), nn.Linear(config.width, outputs)]
    return attention_network(config, stem, head, causal=False)
