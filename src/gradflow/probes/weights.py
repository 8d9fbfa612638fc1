"""The layers' weights: their norms, and how far they have moved."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradflow.probes.norms import are_small, norms, roots
from gradflow.probes.shards import is_sharded, local, version


class Weights:
    """Weights that are compared with what they were; of sharded ones what this rank holds.

    Small float32 weights on a CPU are read by NumPy through views that are made once: calling
    torch costs more than the norm of such a weight.
    """

    def __init__(self, weights: Sequence[Tensor]):
        self._weights = list(weights)
        self._sharded = any(is_sharded(w) for w in weights)
        self._places: list[int] = []
        self._now: list[Tensor] = []
        self._before: list[Tensor] = []
        # Pairs of what was and what is, in the order of memory; None if torch is to read them.
        self._flat: list[tuple[Any, Any]] | None = None
        self._versions: list[int] = []

    def hold(self, like: Tensor) -> Tensor:
        """Remember the weights as they are now; their norms, as `norms` has them."""
        if self._replaced():
            self._places = [w.data_ptr() for w in self._held()]
            self._now = [w.detach() for w in self._held()]
            self._before = [torch.empty_like(w) for w in self._now]
            self._flat = None
            if are_small(self._now) and not any(map(_has_gaps, self._now)):
                pairs = zip(self._before, self._now, strict=True)
                self._flat = [(_flat(before), _flat(now)) for before, now in pairs]
        self._versions = self._written()
        if self._flat is not None:
            for before, now in self._flat:
                before[:] = now
            return roots([before for before, _ in self._flat])
        if self._before:
            torch._foreach_copy_(self._before, self._now)
        return norms(self._now, like=like)

    def changed(self) -> bool:
        """Whether a weight is another than it was, whatever has changed it."""
        if self._replaced() or self._versions != self._written():
            return True
        return any(
            not torch.equal(before, now)
            for before, now in zip(self._before, self._now, strict=True)
        )

    def moved(self, like: Tensor) -> Tensor:
        """The norms of the differences to what was held, which they replace."""
        if self._replaced():  # `.data` is another tensor
            pairs = zip(self._before, self._held(), strict=True)
            return norms([before - now.detach().to(before) for before, now in pairs], like=like)
        if self._flat is not None:
            with np.errstate(all="ignore"):
                for before, now in self._flat:
                    np.subtract(before, now, out=before)
            return roots([before for before, _ in self._flat])
        if self._before:
            torch._foreach_sub_(self._before, self._now)
        return norms(self._before, like=like)

    def release(self) -> None:
        """Give the memory back."""
        self._places, self._now, self._before, self._flat = [], [], [], None

    def _replaced(self) -> bool:
        return self._places != [w.data_ptr() for w in self._held()]

    def _held(self) -> list[Tensor]:
        return [local(w) for w in self._weights] if self._sharded else self._weights

    def _written(self) -> list[int]:
        return [version(w) if self._sharded else w._version for w in self._weights]


def _flat(tensor: Tensor) -> Any:
    return tensor.numpy().ravel("K")


def _has_gaps(tensor: Tensor) -> bool:
    """Whether its elements are not one behind the other in memory: `_flat` is then a copy."""
    place: int = _flat(tensor).ctypes.data
    return place != tensor.data_ptr()
