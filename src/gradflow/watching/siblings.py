"""Blocks that lack a residual sum which their siblings make."""

from collections import Counter
from collections.abc import Sequence

from torch import nn

FEWEST = 3  # siblings, of which a majority shows what is usual


class Siblings:
    """The blocks of a network that are built alike: same class, options and shapes.

    They stand in one list or sequence. Structure alone is compared; nothing is kept of weights.
    """

    def __init__(self, network: nn.Module):
        self._groups: list[list[str]] = []
        # Data need no gradient: a sum with them as its shortcut is none to the probes.
        self._first = next(iter(dict(network.named_parameters())), "")
        for path, parent in network.named_modules():
            if not isinstance(parent, nn.Sequential | nn.ModuleList):
                continue
            alike: dict[str, list[str]] = {}
            for name, child in parent.named_children():
                if next(child.children(), None) is None:
                    continue
                shapes = [tuple(p.shape) for p in child.parameters()]
                alike.setdefault(f"{child!r} {shapes}", []).append(
                    f"{path}.{name}" if path else name
                )
            self._groups += [names for names in alike.values() if len(names) >= FEWEST]

    def without_sum(self, blocks: Sequence[str], trained: Sequence[str]) -> dict[str, float]:
        """Block -> how many residual sums it makes fewer than two thirds of its siblings.

        Args:
            blocks: names of the sums that were measured.
            trained: layers that had a gradient; a block without any was not called.
        """
        found = {}
        for names in self._groups:
            counts = {
                name: sum(_is_in(block, name) for block in blocks)
                for name in names
                if any(_is_in(layer, name) for layer in trained)
            }
            if len(counts) < FEWEST:
                continue
            usual, agreeing = Counter(counts.values()).most_common(1)[0]
            if 3 * agreeing >= 2 * len(counts):
                lacking = {n: float(usual - c) for n, c in counts.items() if c < usual}
                found |= {n: c for n, c in lacking.items() if not _is_in(self._first, n)}
        return found


def _is_in(name: str, block: str) -> bool:
    name = name.partition(":")[0]
    return name == block or name.startswith(f"{block}.")
