"""Blocks that lack a residual sum which their siblings make."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import accumulate

import pyarrow as pa
import pyarrow.compute as pc
from torch import nn

FEWEST = 3  # blocks, of which a majority shows what is usual
ALIKE, OF_ONE_CLASS = 0.66, 0.8  # the majority among blocks built alike, or only of one class


class Siblings:
    """The blocks of a network that are expected to make equally many residual sums.

    These are blocks that stand in one list or sequence and are built alike (class, options,
    shapes), and blocks of one class anywhere that keep their width. Nothing is kept of weights.
    """

    def __init__(self, network: nn.Module):
        # Data need no gradient: a sum with them as its shortcut is none to the probes.
        self._first = next(iter(dict(network.named_parameters())), "")
        alike: dict[object, list[str]] = {}
        of_class: dict[object, list[str]] = {}
        for path, parent in network.named_modules():
            if not isinstance(parent, nn.Sequential | nn.ModuleList):
                continue
            for name, child in parent.named_children():
                if next(child.children(), None) is None:
                    continue
                place = f"{path}.{name}" if path else name
                shapes = [tuple(p.shape) for p in child.parameters()]
                alike.setdefault((path, repr(child), *shapes), []).append(place)
                if _keeps_width(shapes):
                    of_class.setdefault(type(child), []).append(place)
        groups = [(names, ALIKE) for names in alike.values()]
        groups += [(names, OF_ONE_CLASS) for names in of_class.values()]
        self._groups = [group for group in groups if len(group[0]) >= FEWEST]

    def without_sum(self, tables: Mapping[str, pa.Table]) -> dict[str, float]:
        """Block -> how many residual sums it makes fewer than most of its siblings.

        Args:
            tables: of one measured step. A block in which no layer had a gradient was not called.
        """
        rows, layers = tables["blocks"], tables["layers"]
        over_skip = pc.greater(pc.fill_null(rows["skip_grad_norm"], 0), 0)
        blocks = rows["block_name"].filter(over_skip).to_pylist()
        trained = layers["layer_name"].filter(layers["grad_norm"].is_valid()).to_pylist()
        sums = Counter(around for block in blocks for around in _around(block))
        called = {around for layer in trained for around in _around(layer)}
        first = set(_around(self._first))
        found: dict[str, float] = {}
        for names, majority in self._groups:
            counts = {name: sums[name] for name in names if name in called}
            if len(counts) < FEWEST:
                continue
            usual, agreeing = Counter(counts.values()).most_common(1)[0]
            if agreeing >= majority * len(counts):
                lacking = {n: float(usual - c) for n, c in counts.items() if c < usual}
                found |= {n: c for n, c in lacking.items() if n not in first}
        return found


def _around(name: str) -> Iterator[str]:
    """A block's or layer's name without its number, and those of the modules that it is in."""
    parts = name.partition(":")[0].split(".")
    return accumulate(parts, "{}.{}".format)


def _keeps_width(shapes: list[tuple[int, ...]]) -> bool:
    """Whether the first weight takes as many channels as the last one gives."""
    weights = [shape for shape in shapes if len(shape) > 1]
    return bool(weights) and weights[0][1] == weights[-1][0]
