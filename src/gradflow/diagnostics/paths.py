"""The gradient by the number of branches that it came back through (Veit et al. 2016).

With residual blocks the gradient at the first block's input is a sum over 2^n paths: at every
block it comes back through the branch or over the shortcut. The network's own activations are
held fixed, so that what follows the addition is linear too, and the sum is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING, Any, ClassVar

from gradflow.config.diagnostics import Columns, DiagnosticConfig
from gradflow.config.needs import LACKING, Need
from gradflow.config.registry import register
from gradflow.config.validation import choice, number
from gradflow.core.errors import GradflowError
from gradflow.core.seeds import seeded

if TYPE_CHECKING:
    from torch import Tensor

    from gradflow.networks.blocks import Block
    from gradflow.training.frozen import Frozen

AT_A_TIME = 1024  # examples, over all paths that are followed together


@dataclass(frozen=True)
class PathsConfig(DiagnosticConfig):
    """The gradient by the number of branches that it came through."""

    TABLES: ClassVar[dict[str, Columns]] = {
        # One row per path length; gradients of the mean loss at the first block's input.
        "paths": {
            "length": "int32",
            "n_paths": "float64",
            "path_grad_norm": "float64",  # root mean square over single paths
            "samples": "int32",  # number of sampled paths
            "total_grad_norm": "float64",  # of the sum over all of them, exact
        }
    }
    EXACT: ClassVar[bool] = True
    NEEDS: ClassVar[tuple[Need, ...]] = ("ungated", "blocks", "chain")

    name: str = choice("paths")
    at: str = choice("both", "initialization", "final")
    images: int = number(4, at_least=2)
    samples: int = number(8, at_least=1)  # single paths of each length


@register(PathsConfig)
def diagnose_paths(frozen: Frozen, config: PathsConfig) -> dict[str, dict[str, list[Any]]]:
    """Table `paths`: a row per length, the number of branches on the path.

    A plain network has paths of one length: through every branch.
    """
    import torch

    blocks, inputs, gradient = _passes(frozen)
    lengths = range(len(blocks) + 1) if blocks[0].skip else [len(blocks)]
    sums = gradients_by_length(blocks, inputs, gradient)
    samples = {n: _draws(len(blocks), n, config.samples, frozen.seed) for n in lengths}
    norms = path_norms(blocks, inputs, gradient, torch.cat(list(samples.values())))
    single = dict(zip(lengths, norms.split([len(s) for s in samples.values()]), strict=True))
    return {
        "paths": {
            "length": list(lengths),
            "n_paths": [float(comb(len(blocks), n)) if blocks[0].skip else 1.0 for n in lengths],
            "path_grad_norm": [float(single[n].square().mean().sqrt()) for n in lengths],
            "samples": [len(samples[n]) for n in lengths],
            "total_grad_norm": [float(sums[n].norm()) for n in lengths],
        }
    }


def gradients_by_length(
    blocks: list[Block], inputs: list[Tensor], gradient: Tensor
) -> dict[int, Tensor]:
    """Length -> the sum, over all paths of that length, of the gradient at the first block's input.

    Exact: with G_l[k] the sum over paths from the output to block l through k branches,
    G_l[k] = J_S^T G_(l+1)[k] + J_F^T G_(l+1)[k-1]. Their sum over k is the gradient itself.

    Args:
        inputs: of each block, [B, ...].
        gradient: at the last block's output, [B, ...].
    """
    import torch

    sums = gradient[None]  # [lengths so far, B, ...]
    for block, x in zip(reversed(blocks), reversed(inputs), strict=True):
        over, through = _back(block, x, sums)
        none = torch.zeros_like(over[:1])
        sums = torch.cat([over, none]) + torch.cat([none, through])
    return dict(enumerate(sums))


def path_norms(
    blocks: list[Block], inputs: list[Tensor], gradient: Tensor, chosen: Tensor
) -> Tensor:
    """[P]: the norm of what came back over each single path.

    Args:
        chosen: [P, blocks], bool: whether the path goes through the block's branch.
    """
    import torch

    found = []
    for part in chosen.split(max(1, AT_A_TIME // len(gradient))):
        along = gradient.expand(len(part), *gradient.shape)
        for index in reversed(range(len(blocks))):
            over, through = _back(blocks[index], inputs[index], along)
            pick = part[:, index].view(-1, *[1] * gradient.ndim)
            along = torch.where(pick.to(over.device), through, over)
        found.append(along.flatten(1).norm(dim=1))
    return torch.cat(found)


def _back(block: Block, x: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
    """What comes back from a block's output [K, B, ...] over the shortcut, and through the branch.

    One pass over as many copies of the batch as there are gradients.
    """
    import torch

    copies = x.detach().repeat(len(gradients), *[1] * (x.ndim - 1))
    carried, weighed = copies.clone().requires_grad_(), copies.requires_grad_()
    total = block.branch(weighed)
    if block.skip:
        total = block.shortcut(carried) + total
    found = torch.autograd.grad(
        block.after(total), [carried, weighed], gradients.flatten(0, 1), allow_unused=True
    )
    over, through = (torch.zeros_like(copies) if part is None else part for part in found)
    shape = (len(gradients), *x.shape)
    return over.reshape(shape), through.reshape(shape)


def _passes(frozen: Frozen) -> tuple[list[Block], list[Tensor], Tensor]:
    """The blocks, the input of each, and the loss's gradient at the last one's output."""
    import torch

    from gradflow.networks.blocks import Block
    from gradflow.training.frozen import block_inputs

    network = frozen.network
    blocks = [block for block in network.blocks if isinstance(block, Block)]
    for block in blocks:
        if block.gate is not None:
            raise GradflowError(LACKING["ungated"])
    with torch.no_grad():
        *inputs, last = block_inputs(network, frozen.images)
    last.requires_grad_()
    # The task's loss as a function of `last`, whatever images it is shown.
    [gradient] = torch.autograd.grad(frozen.loss_of(lambda _: network.head(last))[0], last)
    return blocks, inputs, gradient


def _draws(blocks: int, length: int, samples: int, seed: int) -> Tensor:
    """[P, blocks]: paths of one length drawn evenly; one if there is only one."""
    import torch

    generator = seeded(seed, "paths", length)
    count = samples if 0 < length < blocks else 1
    order = torch.stack([torch.randperm(blocks, generator=generator) for _ in range(count)])
    return order < length
