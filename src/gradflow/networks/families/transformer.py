"""A small vision transformer (Dosovitskiy et al. 2021) of residual attention and MLP blocks.

    stem    patches of p x p pixels, Linear to w, plus a learned position each: [B, T, w]
    blocks  in turn  attention: x + Attention(norm(x))      pre_norm  (Xiong et al. 2020)
                     MLP:       x + MLP(norm(x))            w -> 4w -> w
            post_norm: norm(x + Attention(x)), norm(x + MLP(x))       (Vaswani et al. 2017)
    head    norm (pre_norm only), mean over tokens, Linear

Depth counts weighted layers: four per pair of blocks, the stem and the head: 4n+2. The plain
twin leaves out both additions of every pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from gradflow.config.networks import (
    ACTIVATIONS,
    DELTA_ORTHOGONAL,
    INITIALIZATIONS,
    NetworkConfig,
)
from gradflow.config.registry import register
from gradflow.config.validation import choice, number

if TYPE_CHECKING:
    from gradflow.networks.network import Network


class Placement(NamedTuple):
    """The layers of both kinds of block, of what follows the addition, and before the head."""

    attention: str
    mlp: str
    after: str
    head: str


PLACEMENTS = {
    "pre_norm": Placement("nt", "ncac", after="", head="n"),
    "post_norm": Placement("t", "cac", after="n", head=""),
}


@dataclass(frozen=True)
class TransformerConfig(NetworkConfig):
    """Attention and MLP blocks in turn over image patches; depth 4n+2."""

    TASK: ClassVar[str] = "classify"

    name: str = choice("transformer")
    depth: int = number(10, at_least=6)
    width: int = number(32, at_least=1)
    norm: str = choice("layer", "rms", "none")
    activation: str = choice("gelu", table=ACTIVATIONS)
    initialization: str = choice("xavier", table=INITIALIZATIONS)
    bias: bool | None = True
    placement: str = choice("pre_norm", table=PLACEMENTS)
    heads: int = number(4, at_least=1)
    patch: int = number(2, at_least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.blocks_per_stage(1)
        if self.width % self.heads:
            self.refuse("heads", f"must divide width={self.width}")
        if self.initialization in ("fixup", *DELTA_ORTHOGONAL, "looks_linear"):
            self.refuse("initialization", "is not defined for attention; use xavier")

    def layers_per_block(self) -> int:
        """Of a pair of blocks: query-key-value and output; the two layers of the MLP."""
        return 4


@register(TransformerConfig)
def transformer(
    config: TransformerConfig, image_shape: tuple[int, int, int], outputs: int
) -> Network:
    """[B, C, H, W] -> [B, outputs]; `config.patch` divides the image's sides.

    Raises:
        GradflowError: it does not.
    """
    from torch import nn

    from gradflow.networks.blocks import Block, scaled
    from gradflow.networks.layers import Weighted, layer_stack
    from gradflow.networks.network import Network
    from gradflow.networks.tokens import MeanOverTokens, PatchEmbedding

    _, height, width = image_shape
    if height % config.patch or width % config.patch:
        config.refuse("patch", f"must divide the image's sides, {height} and {width}")
    size, total, row = config.width, 2 * config.blocks_per_stage(1), PLACEMENTS[config.placement]
    weighted = [Weighted(4 * size), Weighted(size)]
    blocks = []
    for index in range(total):
        spec = row.mlp if index % 2 else row.attention
        branch = layer_stack(spec, config, size, weighted, dims=1, heads=config.heads)
        blocks.append(
            Block(
                scaled(branch, config, size, index=index, total=total, dims=1),
                nn.Identity(),
                layer_stack(row.after, config, size, dims=1),
                config.skip,
                name=f"blocks.{index}",
            )
        )
    head = layer_stack(row.head, config, size, dims=1)
    head.extend([MeanOverTokens(), nn.Linear(size, outputs)])
    return Network(PatchEmbedding(image_shape, config.patch, size), blocks, head, config.checkpoint)
