"""A measurement of several processes that train together: as if one had seen the whole batch."""

import hashlib
from dataclasses import replace

import torch
from torch import Tensor
from torch import distributed as dist

from gradflow.probes import Measurement
from gradflow.records.quantities import STREAMS, SUMS

OF_GRADIENTS = frozenset(
    {"total", "inside", "skip", "branch", "elsewhere", "path", "path_rest", *STREAMS}
)
"""Of `quantities.SUMS`: squares of gradients, each of its own process's mean loss."""


def rank_and_ranks() -> tuple[int, int]:
    """This process's number and how many there are: 0 and 1 outside of torch.distributed."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def combined(measurement: Measurement | None, device: torch.device) -> Measurement | None:
    """A step's measurement with the blocks of all processes; every process has to call it.

    The loss is the mean over processes, as DistributedDataParallel has it: a gradient at an
    activation is that of the process's own loss over their number. Layers are left as they are:
    their gradients are averaged already. Where processes measured different blocks there are
    none; where one of them measured nothing the result is None.
    """
    _, count = rank_and_ranks()
    own = torch.tensor(_digest(measurement), dtype=torch.int64, device=device)
    every = [torch.empty_like(own) for _ in range(count)]
    dist.all_gather(every, own)
    if measurement is None or any(int(digest[0]) == 0 for digest in every):
        return None
    if any(not torch.equal(digest, own) for digest in every):
        pieces = {name: piece for name, piece in measurement.pieces.items() if name != "blocks"}
        return replace(measurement, rows=[], slots=[], within={}, pieces=pieces)
    if "blocks" not in measurement.pieces:
        return measurement
    sums = measurement.pieces["blocks"].clone() * _factors(measurement, count)
    dist.all_reduce(sums)
    slots = [(kind, row, elements * count) for kind, row, elements in measurement.slots]
    return replace(measurement, slots=slots, pieces=measurement.pieces | {"blocks": sums})


def _digest(measurement: Measurement | None) -> list[int]:
    """Whether there is one, and what its blocks are."""
    if measurement is None:
        return [0, 0]
    facts = repr((measurement.step, measurement.rows, [slot[:2] for slot in measurement.slots]))
    return [1, int.from_bytes(hashlib.sha256(facts.encode()).digest()[:7])]


def _factors(measurement: Measurement, count: int) -> Tensor:
    kinds = [SUMS[kind] for kind, _, _ in measurement.slots]
    values = [count**-2.0 if kind in OF_GRADIENTS else 1.0 for kind in kinds]
    blocks = measurement.pieces["blocks"]
    return torch.tensor(values, dtype=blocks.dtype, device=blocks.device)
