"""The error of a trained network after blocks were deleted or changed places.

Veit et al. 2016, section 4. A deleted block computes after(S(x)): in the residual network the
branch is gone, in the plain one the whole block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from gradflow.config.diagnostics import Columns, DiagnosticConfig
from gradflow.config.needs import LACKING, Need
from gradflow.config.registry import register
from gradflow.config.validation import choice, number
from gradflow.core.errors import GradflowError
from gradflow.core.seeds import seeded

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from gradflow.networks.network import Network
    from gradflow.training.frozen import Frozen


@dataclass(frozen=True)
class LesionConfig(DiagnosticConfig):
    """The error after blocks were deleted or swapped, without training again."""

    TABLES: ClassVar[dict[str, Columns]] = {
        # One row per lesion: none, delete, swap.
        "lesions": {
            "lesion": "string",
            "count": "int32",  # of blocks that were hit
            "sample": "int32",
            "blocks": "list[int64]",
            "kendall_tau": "float64",  # of the new order with the old
            "loss": "float64",
            "error": "float64",
        }
    }
    EXACT: ClassVar[bool] = False
    NEEDS: ClassVar[tuple[Need, ...]] = ("blocks", "own values")

    name: str = choice("lesion")
    split: str = choice("test", "train")
    images: int = number(360, at_least=2)
    samples: int = number(5, at_least=1)  # draws of each number of blocks, or of swaps


@register(LesionConfig)
def diagnose_lesion(frozen: Frozen, config: LesionConfig) -> dict[str, dict[str, list[Any]]]:
    """Table `lesions`: a row for the whole network, one for each deleted block, and some for
    draws of 2, 4, 8, ... blocks deleted, or of as many pairs swapped."""
    import torch
    from scipy.stats import kendalltau

    from gradflow.training.frozen import check_blocks

    columns = tuple(config.TABLES["lesions"])
    rows: dict[str, list[Any]] = {name: [] for name in columns}
    network = frozen.network
    check_blocks(network)
    if any(getattr(module, "is_first", False) for module in network.modules()):
        raise GradflowError(LACKING["own values"])
    total = len(network.blocks)

    def add(
        lesion: str, blocks: list[int], sample: int = 0, order: list[int] | None = None
    ) -> None:
        deleted = blocks if lesion == "delete" else ()
        with lesioned(network, deleted=deleted, order=order), torch.no_grad():
            loss, error = frozen.loss_and_error()
        tau = 1.0 if order is None else float(kendalltau(range(total), order).statistic)
        found = (lesion, len(blocks), sample, blocks, tau, float(loss), float(error))
        for name, value in zip(columns, found, strict=True):
            rows[name].append(value)

    add("none", [])
    for index in range(total):
        add("delete", [index])
    counts = [2**k for k in range(1, total.bit_length()) if 2**k < total]
    alike = [group for group in _interchangeable(frozen) if len(group) > 1]
    for count in counts:
        for sample in range(config.samples):
            generator = seeded(frozen.seed, "lesion", f"{count}/{sample}")
            drawn = torch.randperm(total, generator=generator)[:count]
            add("delete", sorted(drawn.tolist()), sample)
    for count in [1, *counts] if alike else []:
        for sample in range(config.samples):
            generator = seeded(frozen.seed, "swap", f"{count}/{sample}")
            order = list(range(total))
            for _ in range(count):
                group = _draw(alike, generator)
                one, other = torch.randperm(len(group), generator=generator)[:2].tolist()
                one, other = group[one], group[other]
                order[one], order[other] = order[other], order[one]
            add("swap", [i for i, block in enumerate(order) if block != i], sample, order)
    return {"lesions": rows}


@contextmanager
def lesioned(
    network: Network, *, deleted: Sequence[int] = (), order: Sequence[int] | None = None
) -> Iterator[None]:
    """Inside, the network lacks the branches of some blocks, or has its blocks in another order."""
    from gradflow.networks.blocks import Block, WithoutBranch

    whole = list(network.blocks)
    try:
        for place, index in enumerate(order or range(len(whole))):
            network.blocks[place] = whole[index]
        for index in deleted:
            block = whole[index]
            assert isinstance(block, Block)
            network.blocks[index] = WithoutBranch(block)
        yield
    finally:
        for index, block in enumerate(whole):
            network.blocks[index] = block


def _interchangeable(frozen: Frozen) -> list[list[int]]:
    """Blocks that may change places: those that map one shape to the same shape, by shape."""
    import torch

    groups: dict[tuple[int, ...], list[int]] = {}

    def note(index: int, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if inputs[0].shape == output.shape:
            groups.setdefault(tuple(output.shape[1:]), []).append(index)

    handles = [
        block.register_forward_hook(lambda _, inputs, y, index=index: note(index, inputs, y))
        for index, block in enumerate(frozen.network.blocks)
    ]
    try:
        with torch.no_grad():
            frozen.loss_and_error()
    finally:
        for handle in handles:
            handle.remove()
    return list(groups.values())


def _draw(groups: list[list[int]], generator: torch.Generator) -> list[int]:
    """A group, each in proportion to its blocks."""
    import torch

    weights = torch.tensor([float(len(group)) for group in groups])
    return groups[int(torch.multinomial(weights, 1, generator=generator))]
