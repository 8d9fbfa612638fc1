"""What backward passes leave in `.grad`, apart from what was there before them."""

from collections.abc import Callable, Sequence
from operator import attrgetter

from torch import Tensor

from gradflow.probes.shards import is_sharded, local, version


class Gradients:
    """The gradients of the backward passes that count as one measurement.

    Args:
        parameters: all that are trained: a backward pass counts if it leaves something in one.
        weights: those whose gradients are wanted.

    Attributes:
        reset: whether the gradients were set to zero before the backward pass that runs, but
            after another that counts.
    """

    def __init__(self, parameters: Sequence[Tensor], weights: Sequence[Tensor]):
        self._parameters, self._weights = parameters, weights
        sharded = any(is_sharded(p) for p in parameters)
        self._version: Callable[[Tensor], int] = version if sharded else attrgetter("_version")
        self.clear()

    def clear(self) -> None:
        self.reset = False
        self._found: list[tuple[Tensor | None, int]] = []  # before the pass that runs
        self._last: list[tuple[Tensor | None, int]] = []  # after the last that counts
        # What .grad held before the passes that count, and before the one that runs.
        self._base: dict[int, Tensor] = {}
        self._older: dict[int, Tensor] = {}

    def begin(self, *, first: bool) -> None:
        """A backward pass begins, the first that counts or another."""
        self._found = self._versions(self._parameters)
        now = [w.grad for w in self._weights]
        self.reset = not first and self._was_reset(now)
        if self.reset or first:
            self._older = {
                i: local(g).detach().clone()
                for i, g in enumerate(now)
                if g is not None and not g.is_sparse
            }

    def _was_reset(self, now: Sequence[Tensor | None]) -> bool:
        for gradient, (last, number) in zip(now, self._last, strict=True):
            if last is None:
                continue
            if gradient is None:
                return True
            if gradient is not last or self._version(gradient) != number:
                return not bool(local(gradient).detach().any())
        return False

    def end(self, *, first: bool) -> bool:
        """The backward pass has ended; whether it has left anything."""
        left = any(
            p.grad is not gradient or (gradient is not None and self._version(gradient) != number)
            for p, (gradient, number) in zip(self._parameters, self._found, strict=True)
        )
        self._found = []
        if left and (self.reset or first):
            self._base = self._older
        return left

    def take(self) -> tuple[list[int], list[Tensor]]:
        """Which weights have a gradient, and what this rank holds of the gradients of the passes
        that count."""
        self._last = self._versions(self._weights)
        places = [i for i, (gradient, _) in enumerate(self._last) if gradient is not None]
        found = [local(gradient) for gradient, _ in self._last if gradient is not None]
        if self._base:
            for place, index in enumerate(places):
                if (base := self._base.get(index)) is not None:
                    found[place] = found[place].detach() - base
        return places, found

    def _versions(self, parameters: Sequence[Tensor]) -> list[tuple[Tensor | None, int]]:
        """Their gradients, and how often each has been written."""
        gradients, number = [p.grad for p in parameters], self._version
        return [(g, -1 if g is None else number(g)) for g in gradients]
