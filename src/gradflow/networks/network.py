"""What every network is: a stem, blocks in forward order, a head."""

import math
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gradflow.networks.blocks import Block


class Network(nn.Module):
    """head(blocks(stem(x))), the blocks one after the other.

    Attributes:
        stem, head: what comes before and after the blocks.
        blocks: in forward order, each with `.branch`, `.shortcut` and `.skip`.
        checkpointed: keep the inputs of every few blocks only, and compute what is inside
            them again in the backward pass (Chen et al. 2016); changes no number.
    """

    def __init__(self, stem: nn.Module, blocks: list[Block], head: nn.Module, checkpointed: bool):
        super().__init__()
        self.stem = stem
        self.blocks = nn.ModuleList(blocks)
        self.head = head
        self.checkpointed = checkpointed

    def forward(self, x: Tensor) -> Tensor:
        """The output for a batch of images."""
        x = self.stem(x)
        # n/k inputs are kept, and k blocks' insides at a time, each about nine times its input.
        length = math.ceil(math.sqrt(len(self.blocks)) / 3)
        for start in range(0, len(self.blocks), length):
            x = self.run_blocks(slice(start, start + length), x)
        y: Tensor = self.head(x)
        return y

    def run_blocks(self, part: slice, x: Tensor, *context: Tensor) -> Tensor:
        """The output of consecutive blocks, their insides kept for the backward pass or not."""
        blocks = list(self.blocks)[part]

        def run(x: Tensor, *context: Tensor) -> Tensor:
            for block in blocks:
                x = block(x, *context)
            return x

        if not (self.checkpointed and self.training and torch.is_grad_enabled()):
            return run(x, *context)
        passes = (nullcontext(), _Recompute(blocks))
        y: Tensor = checkpoint(run, x, *context, use_reentrant=False, context_fn=lambda: passes)
        return y


class _Recompute:
    """The context of the blocks' second pass: batch norm averages into copies, because its own
    running averages have seen this batch already."""

    BUFFERS = ("running_mean", "running_var", "num_batches_tracked")

    def __init__(self, blocks: list[nn.Module]):
        modules = (module for block in blocks for module in block.modules())
        self.norms = [m for m in modules if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
        self.kept: list[dict[str, Tensor]] = []

    def __enter__(self) -> None:
        self.kept = [{name: norm.get_buffer(name) for name in self.BUFFERS} for norm in self.norms]
        for norm, buffers in zip(self.norms, self.kept, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer.clone())

    def __exit__(self, *_: object) -> None:
        for norm, buffers in zip(self.norms, self.kept, strict=True):
            for name, buffer in buffers.items():
                setattr(norm, name, buffer)
