"""What is measured in a backward pass: a row for each residual sum, and where its parts arrive.

Made from the whole graph once. The same nodes are found again in the graph of a later pass by
short paths from the outputs, each checked by the node's number; a pass of another structure is
read as a whole again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from gradflow.probes.calls import Signal, Source
from gradflow.probes.graph import ACCUMULATE, Edge, Node

SKIP, BRANCH = "skip", "branch"

Ends = dict[str, list[Edge]]
"""Of a row: fork, node, carried (none or one each), and skip: the uses of x by S."""


@dataclass
class Row:
    """A row of `blocks`.

    Attributes:
        block: the module that made the sum, if one did.
        parts: whether the gradient at x is split.
        plain: there is no shortcut, so the skip part is 0.
        elsewhere: whether x has uses outside the sum.
        opaque: whether a Python function is between x and the sum: it may do more than compute
            gradients, so nothing walks there again.
        handed: whether the sum's gradient itself is the skip part: seen where it is checked.
        reasons: why values are null.
    """

    name: str
    block: nn.Module | None
    parts: bool = False
    plain: bool = False
    elsewhere: bool = False
    gated: bool = False
    opaque: bool = False
    handed: bool = False
    reasons: list[str] = field(default_factory=list)
    leaves: list[Any] = field(default_factory=list)


@dataclass
class Places:
    """What is read at a node.

    Attributes:
        before: output -> the rows whose x it is.
        after: input -> (row, part) of the uses of x.
        sums: the rows whose sum it is.
    """

    before: dict[int, list[int]] = field(default_factory=dict)
    after: dict[int, list[tuple[int, str]]] = field(default_factory=dict)
    sums: list[int] = field(default_factory=list)


@dataclass
class Plan:
    """The rows, the places in the graph, and the tensors of the forward pass to look at.

    Attributes:
        wanted: source -> [(quantity, row)].
        steps: (position of a node, which of its inputs, number of the node that is there);
            the outputs come first, then a node a step.
        spots: (position of a node, what is read there).
        ends: see `edges`; positions in place of nodes.
        consumers: position of a sum -> position of the one node that takes it, and as which of
            the node's inputs.
        length: how many nodes the forward pass makes.
        opaque: whether a Python function is among them.
    """

    rows: list[Row]
    wanted: dict[Source, list[tuple[str, int]]]
    signals: list[tuple[list[tuple[str, int]], Signal]]
    outputs: list[int] = field(default_factory=list)
    steps: list[tuple[int, int, int]] = field(default_factory=list)
    spots: list[tuple[int, Places]] = field(default_factory=list)
    ends: list[dict[str, list[tuple[int, int]]]] = field(default_factory=list)
    consumers: dict[int, tuple[int, int]] = field(default_factory=dict)
    length: int = 0
    opaque: bool = False
    _lean: "Plan | None" = None

    def edges(self, nodes: Sequence[Node]) -> list[Ends]:
        """Row by row its x, S(x), sum and uses of x by S in a pass's graph."""
        return [
            {label: [(nodes[p], i) for p, i in found] for label, found in row.items()}
            for row in self.ends
        ]

    def lean(self) -> "Plan":
        """The same without `ends` and the branches of rows whose branch part is total - skip,
        and without the steps that lead nowhere else. A skip part that is the sum's gradient is
        read where the next x is made from the sum, if it is: one hook does for both."""
        if self._lean is not None:
            return self._lean
        spots: dict[int, Places] = {}
        for position, places in self.spots:
            after = {
                place: kept
                for place, parts in places.after.items()
                if (kept := [(r, p) for r, p in parts if p == SKIP or self.rows[r].elsewhere])
            }
            if places.before or after:
                spots[position] = Places(places.before, after)
        for position, (consumer, place) in self.consumers.items():
            there, here = spots.get(consumer), spots.get(position)
            if here is None or here.before or there is None or not there.before:
                continue
            parts = [part for found in here.after.values() for part in found]
            if consumer >= len(self.outputs) and all(self.rows[r].handed for r, _ in parts):
                there.after.setdefault(place, []).extend(parts)
                del spots[position]
        first = len(self.outputs)
        needed = set(spots)
        for index in reversed(range(len(self.steps))):
            if first + index in needed:
                needed.add(self.steps[index][0])
        needed.update(range(first))
        place_of = {position: place for place, position in enumerate(sorted(needed))}
        steps = [
            (place_of[source], place, number)
            for index, (source, place, number) in enumerate(self.steps)
            if first + index in needed
        ]
        self._lean = replace(
            self, steps=steps, spots=[(place_of[p], each) for p, each in spots.items()], ends=[]
        )
        return self._lean

    def follow(self, outputs: Sequence[Node], begin: int, length: int) -> list[Node] | None:
        """The nodes of `steps` in another pass's graph, or None if it is not the same."""
        if length != self.length or len(outputs) != len(self.outputs):
            return None
        if any(n._sequence_nr() - begin != k for n, k in zip(outputs, self.outputs, strict=True)):
            return None
        nodes = list(outputs)
        edges: dict[int, Any] = {}
        for source, place, number in self.steps:
            ahead = edges.get(source)
            if ahead is None:
                ahead = edges[source] = nodes[source].next_functions
            if place >= len(ahead) or (node := ahead[place][0]) is None:
                return None
            if number >= 0 and node._sequence_nr() - begin != number:
                return None
            if number < 0 and node.name() != ACCUMULATE:
                return None
            nodes.append(node)
        return nodes
