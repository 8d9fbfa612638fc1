"""Seeds by purpose: what one part of a run draws never depends on another part."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive_seed(seed: int, purpose: str, index: int | str = 0) -> int:
    """A 63-bit seed for one purpose of a run, such as ("order", epoch).

    Streams of different purposes are independent, so that what one part draws never
    depends on how much another part drew before it.
    """
    digest = hashlib.sha256(f"{seed}/{purpose}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seeded(seed: int, purpose: str, index: int | str = 0) -> "torch.Generator":
    """A CPU generator for one purpose of a run."""
    import torch

    return torch.Generator().manual_seed(derive_seed(seed, purpose, index))
