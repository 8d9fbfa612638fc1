"""A small causal language model (Radford et al. 2019): it predicts each next token of a text.

    stem    a learned vector of each token, plus one of its position: [B, T, w]
    blocks  as of a transformer over patches, but a token attends to those up to itself
    head    norm (not of post_norm), Linear: the logits of each next token [B, T, V]

Depth counts weighted layers, 4n+2, the embedding as the first of them. The plain twin leaves out
both additions of every pair of blocks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from gradflow.config.data import TOKENS, Shape
from gradflow.config.registry import register
from gradflow.config.transformers import AttentionConfig
from gradflow.config.validation import choice

if TYPE_CHECKING:
    from gradflow.networks.network import Network


@dataclass(frozen=True)
class LanguageModelConfig(AttentionConfig):
    """Causal attention and MLP blocks in turn over the tokens of a text; depth 4n+2."""

    TASK: ClassVar[str] = "next_token"
    TAKES: ClassVar[tuple[str, ...]] = (TOKENS,)
    OUTPUTS: ClassVar[int] = 256

    name: str = choice("language_model")


@register(LanguageModelConfig)
def language_model(config: LanguageModelConfig, image_shape: Shape, outputs: int) -> Network:
    """Tokens 0 ... outputs-1, [B, T] -> logits [B, T, outputs]; `image_shape` is (T,).

    Raises:
        GradflowError: it is the shape of an image; that of T tokens may also be (1, 1, T).
    """
    from torch import nn

    from gradflow.networks.attention_blocks import attention_network
    from gradflow.networks.tokens import TokenEmbedding

    if math.prod(image_shape[:-1]) != 1:
        shape = ",".join(map(str, image_shape))
        config.refuse("name", f"takes no images of {shape}; image_shape=[1,1,64] is of 64 tokens")
    stem = TokenEmbedding(outputs, image_shape[-1], config.width)
    return attention_network(config, stem, [nn.Linear(config.width, outputs)], causal=True)
