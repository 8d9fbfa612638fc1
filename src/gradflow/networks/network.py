"""What every network is: a stem, blocks in forward order, a head."""

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
        checkpointed: recompute each block in the backward pass instead of keeping what is
            inside it; changes no number.
    """

    def __init__(self, stem: nn.Module, blocks: list[Block], head: nn.Module, checkpointed: bool):
        super().__init__()
        self.stem = stem
        self.blocks = nn.ModuleList(blocks)
        self.head = head
        self.checkpointed = checkpointed

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = self.run_block(block, x)
        y: Tensor = self.head(x)
        return y

    def run_block(self, block: nn.Module, *inputs: Tensor) -> Tensor:
        """The block's output, its insides kept for the backward pass or not."""
        if not (self.checkpointed and self.training and torch.is_grad_enabled()):
            output: Tensor = block(*inputs)
            return output
        passes = (nullcontext(), _Recompute(block))
        kept: Tensor = checkpoint(block, *inputs, use_reentrant=False, context_fn=lambda: passes)
        return kept


class _Recompute:
    """The context of a block's second pass: batch norm averages into copies, because its own
    running averages have seen this batch already."""

    BUFFERS = ("running_mean", "running_var", "num_batches_tracked")

    def __init__(self, block: nn.Module):
        self.norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
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
