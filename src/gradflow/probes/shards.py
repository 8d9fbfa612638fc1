"""Weights that are sharded over ranks (DTensor: FSDP2): what this rank holds of them, and sums over
the ranks that hold the rest.

The sums are collective: every rank arms the same steps.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gradflow.core.errors import GradflowError


def is_sharded(tensor: Tensor) -> bool:
    return type(tensor).__name__ == "DTensor"  # importing it takes long


def check(network: nn.Module) -> None:
    """Refuse shards that are not FSDP2's: there activations may be sharded too.

    Raises:
        GradflowError: for tensor parallel, and for FSDP1, whose weights are pieces of flat ones.
    """
    kinds = {base.__name__ for module in network.modules() for base in type(module).__mro__}
    if "FullyShardedDataParallel" in kinds:
        raise GradflowError(
            f"{type(network).__name__}: its weights are flattened and sharded by "
            "FullyShardedDataParallel; use fully_shard (FSDP2), whose weights can be measured"
        )
    for path, weight in network.named_parameters():
        if is_sharded(weight):
            placements: Any = weight.placements  # type: ignore[attr-defined]  # a DTensor's
            if "FSDPModule" not in kinds or sum(p.is_shard() for p in placements) > 1:
                raise GradflowError(
                    f"{path}: is sharded (tensor parallel); only the shards of fully_shard (FSDP2) "
                    "are measured: give the probes the network before, in one process"
                )


def local(tensor: Tensor) -> Tensor:
    """What this rank holds of a tensor; terms that are not yet added up are added first."""
    if not is_sharded(tensor):
        return tensor
    whole: Any = tensor.detach()
    if any(placement.is_partial() for placement in whole.placements):
        from torch.distributed.tensor import Replicate

        placements = [Replicate() if p.is_partial() else p for p in whole.placements]
        whole = whole.redistribute(placements=placements)
    shard: Tensor = whole.to_local()
    return shard


def version(tensor: Tensor) -> int:
    """How often a tensor has been written, as a whole or this rank's part of it."""
    if not is_sharded(tensor):
        return tensor._version
    part: Tensor = tensor._local_tensor  # type: ignore[attr-defined]  # a DTensor's
    return tensor._version + part._version


def over_ranks(sums: Tensor, tensors: Sequence[Tensor]) -> Tensor:
    """Sums over what this rank holds of each tensor, [len(tensors), ...], as sums over all."""
    found = sums.clone()
    groups: dict[Any, list[int]] = {}
    for index, tensor in enumerate(tensors):
        if is_sharded(tensor):
            whole: Any = tensor
            for dim, placement in enumerate(whole.placements):
                if placement.is_shard():
                    groups.setdefault(whole.device_mesh.get_group(dim), []).append(index)
    for group, places in groups.items():
        part = found[places]
        torch.distributed.all_reduce(part, group=group)
        found[places] = part
    return found
