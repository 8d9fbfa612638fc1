"""Blocks: one class, and one builder that reads the rows of gradflow.config.blocks.

A block computes y = after(S(x) + F(x)); its plain twin y = after(F(x)).
"""

import copy
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gradflow.config.blocks import BLOCKS, POWERS
from gradflow.config.networks import BlockConfig, NetworkConfig
from gradflow.core.errors import GradflowError
from gradflow.networks.layers import Scale, StochasticDepth, Weighted, layer_stack
from gradflow.networks.shortcuts import Gate, make_gate, make_shortcut

LAYER_SCALE = 1e-4  # initial factor of LayerScale (Touvron et al. 2021, section 2)


class Block(nn.Module):
    """y = after(S(x) + F(x)), or after(F(x)) if `skip` is false.

    Attributes:
        branch: F, the weighted path; called with whatever the block is called with.
        shortcut: S, present in the plain twin too, which does not call it.
        after: what follows the addition, in both twins.
        gate: None, or what weighs S(x) and F(x) by a function of x; not called by a plain twin.
        stream_axis: of x, which counts its streams, for the ledger; None: x is one stream.

    Args:
        in_shape: of one example that comes in, such as (16, 32, 32); both paths are then
            tried on it at once, without computing anything. The blocks that `make_block`
            builds fit by construction and are not tried.

    Raises:
        GradflowError: S(x) and F(x) differ in shape (torch would broadcast in silence): here if
            `in_shape` is given, else at the first forward pass.
    """

    def __init__(
        self,
        branch: nn.Module,
        shortcut: nn.Module,
        after: nn.Module,
        skip: bool,
        *,
        gate: Gate | None = None,
        stream_axis: int | None = None,
        name: str = "block",
        in_shape: tuple[int, ...] | None = None,
    ):
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.after = after
        self.skip = skip
        self.gate = gate
        self.stream_axis = stream_axis
        self.name = name
        if in_shape is not None:
            ghost = copy.deepcopy(self).to("meta").eval()  # shapes, but no values
            x = torch.empty(1, *in_shape, device="meta")
            ghost.add(x, ghost.branch(x))

    def forward(self, x: Tensor, *context: Tensor) -> Tensor:
        """y of x; `context` is for the branch alone."""
        branch = self.branch(x, *context)
        total = self.add(x, branch) if self.skip else branch
        y: Tensor = self.after(total)
        return y

    def add(self, x: Tensor, branch: Tensor) -> Tensor:
        """S(x) + F(x), each weighed by the gate if there is one."""
        carried = self.shortcut(x)
        if carried.shape != branch.shape:
            raise GradflowError(
                f"{self.name}: the shortcut gives {tuple(carried.shape[1:])} and the branch "
                f"{tuple(branch.shape[1:])}; give the shortcut the branch's stride and channels"
            )
        total: Tensor = carried + branch if self.gate is None else self.gate(x, carried, branch)
        return total


class WithoutBranch(nn.Module):
    """after(S(x)): what is left of a block y = after(S(x) + F(x)), or y = after(F(x))."""

    def __init__(self, block: Block):
        super().__init__()
        self.shortcut = block.shortcut
        self.after = block.after

    def forward(self, x: Tensor, *_: Tensor) -> Tensor:
        """after(S(x)); the context, which is for the branch, is of no use."""
        y: Tensor = self.after(self.shortcut(x))
        return y


def block_layers(block: str, width: int, stride: int) -> list[Weighted]:
    """The convolutions of a row of `BLOCKS`, for a stage of `width` channels."""
    return [
        Weighted(layer.widening * width, layer.kernel, stride if layer.strides else 1, layer.form)
        for layer in BLOCKS[block]
    ]


def branch_spec(config: BlockConfig, layers: int, *, first: bool) -> tuple[str, str]:
    """(branch, after) of a block with this number of weighted layers, as `layer_stack` reads them.

    The stem has the layers before the first weighted layer of the first block.
    """
    row = config.placed()
    spec = row.repeat * (layers - 1) + row.last
    return (spec.removeprefix(row.before) if first else spec), row.after


def make_block(
    config: BlockConfig,
    in_size: int,
    weighted: Sequence[Weighted],
    *,
    index: int,
    total: int,
    dims: int,
) -> Block:
    """Block `index` of `total`: [B, in_size, ...] -> [B, size of the last weighted layer, ...]."""
    size = weighted[-1].size
    stride = max(layer.stride for layer in weighted)
    name = f"blocks.{index}"
    spec, after = branch_spec(config, len(weighted), first=index == 0)
    branch = layer_stack(spec, config, in_size, weighted, dims=dims)
    return Block(
        scaled(branch, config, size, index=index, total=total, dims=dims),
        make_shortcut(config, in_size, size, stride, dims=dims, name=name),
        layer_stack(after, config, size, dims=dims),
        config.skip,
        gate=make_gate(config.path(), in_size, size, stride),
        name=name,
    )


def scaled(
    branch: nn.Sequential, config: NetworkConfig, size: int, *, index: int, total: int, dims: int
) -> nn.Sequential:
    """The branch with its scale and stochastic depth, for L = `total` blocks.

    constant: branch_scale; inverse_sqrt: branch_scale / sqrt(L); inverse: branch_scale / L;
    rezero: a learnable scalar from 0 (ReZero, Bachlechner et al. 2021; SkipInit, De and Smith
    2020); layer_scale: a learnable factor per channel from 1e-4 * branch_scale. Block l of
    1 ... L survives with probability 1 - l / L * (1 - survival) (Huang et al. 2016, eq. 4).
    """
    layers = OrderedDict(branch.named_children())
    match config.scaling:
        case "rezero":
            layers["scale"] = Scale(0.0, learnable=True)
        case "layer_scale":
            factor = LAYER_SCALE * config.branch_scale
            layers["scale"] = Scale(factor, learnable=True, size=size, dims=dims)
        case scaling:
            if (factor := config.branch_scale / total ** POWERS[scaling]) != 1:
                layers["scale"] = Scale(factor)
    if config.survival < 1:
        layers["survival"] = StochasticDepth(1 - (index + 1) / total * (1 - config.survival))
    return nn.Sequential(layers)
