"""Networks of attention and MLP blocks in turn, whatever goes in and comes out."""

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

from torch import nn

from gradflow.config.transformers import AttentionConfig
from gradflow.networks.attention import SelfAttention
from gradflow.networks.blocks import Block, scaled
from gradflow.networks.connections import connection_of
from gradflow.networks.layers import Scale, Weighted, layer_stack
from gradflow.networks.network import Network
from gradflow.networks.tokens import PatchEmbedding, TokenEmbedding


def attention_network(
    config: AttentionConfig,
    stem: PatchEmbedding | TokenEmbedding,
    head: Sequence[nn.Module],
    *,
    causal: bool,
) -> Network:
    """head(blocks(stem(x))): attention and MLP blocks in turn, as the config's rows say.

    Args:
        stem: puts out [B, T, width].
        head: takes [B, T, width], after the placement's norm.
    """
    size, row = config.width, config.placed()
    attention = partial(
        SelfAttention, heads=config.heads, norm=config.norm, normed=config.normed(), causal=causal
    )
    weighted, total = [Weighted(4 * size), Weighted(size)], 2 * config.layers()
    connection = connection_of(config)
    carried = Scale(row.carried.of(config.layers())) if row.carried else nn.Identity()
    blocks = []
    for index in range(total):
        spec, after = (
            (row.mlp, row.after_mlp) if index % 2 else (row.attention, row.after_attention)
        )
        layers = layer_stack(
            spec, config, size, weighted, dims=1, attention=attention, layer=index // 2 + 1
        )
        parts = connection.parts(
            scaled(layers, config, size, index=index, total=total, dims=1), index
        )
        blocks.append(
            Block(
                parts.branch,
                parts.shortcut or carried,
                parts.after or layer_stack(after, config, size, dims=1),
                config.skip,
                gate=parts.gate,
                stream_axis=parts.stream_axis,
                name=f"blocks.{index}",
            )
        )
    stem.then.extend([*layer_stack(row.stem, config, size, dims=1), *connection.entrance()])
    return Network(stem, blocks, _head(config, connection.exit(), head), config.checkpoint)


def _head(
    config: AttentionConfig, leave: Sequence[nn.Module], head: Sequence[nn.Module]
) -> nn.Sequential:
    """The placement's norm and the head, by the same names with a connection and without."""
    norms = layer_stack(config.placed().head, config, config.width, dims=1)
    layers = OrderedDict((f"connection{count}", each) for count, each in enumerate(leave))
    layers.update(norms.named_children())
    layers.update((str(place), each) for place, each in enumerate(head, start=len(norms)))
    return nn.Sequential(layers)
