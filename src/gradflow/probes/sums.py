"""Residual sums, found in the autograd graph of a forward pass; no names are needed.

A sum y = S(x) + F(x) is a node of the graph that adds. Going back from it:

    x, the fork   the latest tensor that every operand depends on and that exactly one operand
                  reaches by a path without a layer (a product with a matrix, a convolution, an
                  attention, an unknown function): that operand is S(x), the others are F(x)
    projections   every operand holds layers: S(x) is the one without a nonlinearity
    no layers     several operands hold none: S(x) is x itself, if all others hold a parameter

In the gradient at x, what came over S is what arrives on the edges by which the layerless paths
leave x; the rest of the sum's edges are the branch's; all other uses of x are elsewhere.
"""

import heapq
from dataclasses import dataclass, field

from gradflow.probes.graph import PASSING, Edge, Graph, Node, Use
from gradflow.probes.routes import Routes, Scope

# Nodes that add, and the inputs that make up each operand.
SUMS = {
    "Add": ((0,), (1,)),
    "Sub": ((0,), (1,)),
    "Rsub": ((0,), (1,)),
    "Addcmul": ((0,), (1, 2)),
    "Addcdiv": ((0,), (1, 2)),
    "Addmm": ((0,), (1, 2)),
    "Addmv": ((0,), (1, 2)),
    "Baddbmm": ((0,), (1, 2)),
    "Addbmm": ((0,), (1, 2)),
    "Lerp": ((0,), (1, 2)),
}


@dataclass
class Sum:
    """A residual sum y = S(x) + F(x).

    Attributes:
        node: the one that makes y.
        fork: x, or None if it cannot be found.
        skip: the uses of x by which S(x) leaves it; branch: those of F(x); elsewhere: others.
        carried: the operand S(x); added: the tensor F(x), or None if it is not one tensor.
        gated: whether S(x) depends on x by a path with layers too.
        within: what the sum takes of parameters between x and y.
        cone: the nodes between x and y.
        reason: why the parts are unknown; "" if they are known.
    """

    node: Node
    fork: Edge | None = None
    skip: list[Use] = field(default_factory=list)
    branch: list[Use] = field(default_factory=list)
    elsewhere: list[Use] = field(default_factory=list)
    carried: Edge | None = None
    added: Edge | None = None
    gated: bool = False
    within: list[Node] = field(default_factory=list)
    cone: set[Node] = field(default_factory=set)
    reason: str = ""


def find_sums(graph: Graph, scope: Scope | None = None) -> list[Sum]:
    """The residual sums of a graph in the order of execution, those that cannot be split too."""
    if not graph.in_order:
        return []
    finder = _Finder(graph, scope or Scope())
    for node in reversed(graph.nodes):
        finder.sum_at(node)
    found = [s for node, s in finder.found.items() if s is not None and node not in finder.absorbed]
    return sorted(found, key=lambda s: graph.numbers[s.node])


class _Finder:
    def __init__(self, graph: Graph, scope: Scope):
        self.graph, self.routes = graph, Routes(graph, scope)
        self.found: dict[Node, Sum | None] = {}
        self.absorbed: set[Node] = set()  # sums that are a part of a longer one

    def sum_at(self, node: Node) -> Sum | None:
        if node not in self.found:
            self.found[node] = None
            if self._adds(node):
                self.found[node] = self._find(node)
        return self.found[node]

    def _adds(self, node: Node) -> bool:
        groups = SUMS.get(self.graph.kinds[node])
        edges = self.graph.edges[node]
        return groups is not None and all(
            any(i < len(edges) and self._varies(edges[i][0]) for i in group) for group in groups
        )

    def _varies(self, node: Node | None) -> bool:
        return node is not None and not self.graph.is_parameter(node)

    def _operands(self, node: Node, inner: set[Node], opened: set[Node]) -> list[list[Use]]:
        """The operands of a sum of sums; `inner` collects its nodes. A sum that can be split
        by itself is one operand, unless it is `opened`."""
        inner.add(node)
        operands: list[list[Use]] = []
        for group in SUMS[self.graph.kinds[node]]:
            edge = self.graph.edges[node][group[0]]
            alone = len(group) == 1 and len(self.graph.uses[edge]) == 1
            if alone and self._adds(edge[0]) and self.graph.kinds[edge[0]] in ("Add", "Sub"):
                part = self.sum_at(edge[0])
                if part is None or part.reason or edge[0] in opened:
                    operands += self._operands(edge[0], inner, opened)
                    continue
            edges = self.graph.edges[node]
            there = [i for i in group if i < len(edges) and edges[i][0] is not None]
            operands.append([(node, place) for place in there])
        return operands

    def _find(self, node: Node) -> Sum | None:
        opened: set[Node] = set()
        while True:
            inner: set[Node] = set()
            found = self._split(node, self._operands(node, inner, opened), inner)
            if found is None or found.fork is None:
                break
            same = {
                part
                for use in self._leaves(inner)
                if (part := use[0]) not in opened
                and (other := self.found.get(part)) is not None
                and other.fork == found.fork
                and len(self.graph.uses[use]) == 1
            }
            if not same:
                break
            opened |= same  # x + a(x) + b(x) is one sum of three, in whatever order
        if found is not None and not found.reason:
            self.absorbed |= inner - {node}
        return found

    def _leaves(self, inner: set[Node]) -> list[Edge]:
        edges = [edge for node in inner for edge in self.graph.edges[node]]
        return [edge for edge in edges if edge[0] is not None and edge[0] not in inner]

    def _split(self, node: Node, operands: list[list[Use]], inner: set[Node]) -> Sum | None:
        """Go back from all operands at once, the latest node first, until x is found."""
        graph = self.graph
        full = (1 << len(operands)) - 1
        reached: dict[Edge, list[int]] = {}  # which operands: at all, without layers, unchanged
        outputs: dict[Node, set[int]] = {}
        heap: list[tuple[int, int, Node]] = []
        live = [0] * len(operands)
        nonlinear = holding = 0
        seen: set[Node] = set(inner)
        within: list[Node] = []

        def arrive(edge: Edge, bits: int, bare: int, same: int) -> None:
            nonlocal holding
            if graph.is_parameter(edge[0]):
                holding |= bits
                within.append(edge[0])
                return
            masks = reached.setdefault(edge, [0, 0, 0])
            new = bits & ~masks[0]
            masks[:] = masks[0] | bits, masks[1] | bare, masks[2] | same
            for bit in range(len(operands)):
                live[bit] += new >> bit & 1
            if edge[0] not in outputs:
                outputs[edge[0]] = set()
                heapq.heappush(heap, (-graph.numbers[edge[0]], len(outputs), edge[0]))
            outputs[edge[0]].add(edge[1])

        for bit, uses in enumerate(operands):
            for user, place in uses:
                carries = self.routes.carries(user, place)
                bare, holding = ((1 << bit), holding) if carries else (0, holding | 1 << bit)
                arrive(graph.edges[user][place], 1 << bit, bare, bare)
        while heap and all(live):
            _, _, current = heapq.heappop(heap)
            edges = [(current, output) for output in outputs[current]]
            whole = [edge for edge in edges if reached[edge][0] == full]
            if len(whole) == 1:
                fork = whole[0]
                bare, same = reached[fork][1:]
                chosen = bare if bare.bit_count() == 1 else 0
                reason = ""
                if bare == 0 and not any(
                    reached[n, output][1] for _, _, n in heap for output in outputs[n]
                ):
                    straight = full & ~nonlinear
                    if straight.bit_count() == 1:
                        chosen = straight
                    elif straight == full:
                        return None  # one linear map in several parts
                    else:
                        reason = "several operands of the sum hold layers; name the shortcut"
                elif bare and chosen == 0 and not heap:
                    if bare & ~holding & ~same and holding:
                        reason = "several operands may be the shortcut; name it"
                    elif same.bit_count() == 1 and holding & ~same:
                        chosen = same
                    elif holding == 0:
                        return None  # elementwise arithmetic
                    else:
                        reason = "several operands hold no layer; name the shortcut"
                if reason:
                    return Sum(node, fork, within=within, cone=seen, reason=reason)
                if chosen and not graph.is_parameter(current):
                    start = [
                        u for bit, uses in enumerate(operands) if chosen >> bit & 1 for u in uses
                    ]
                    segment, skip = self.routes.segment(start, fork, seen, layers=not bare)
                    if self.routes.are_values(segment, fork, seen):
                        others = [u for uses in operands for u in uses if u not in start]
                        return self._sum(
                            node, fork, start, others, inner, seen, within, segment, skip
                        )
            seen.add(current)
            bits = bare = same = 0
            for edge in edges:
                masks = reached[edge]
                bits, bare, same = bits | masks[0], bare | masks[1], same | masks[2]
                for bit in range(len(operands)):
                    live[bit] -= masks[0] >> bit & 1
            if graph.is_nonlinear(current):
                nonlinear |= bits
            passing = bool(PASSING.match(graph.kinds[current]))
            for place, edge in enumerate(graph.edges[current]):
                if edge[0] is not None:
                    carries = self.routes.carries(current, place)
                    holding |= 0 if carries else bits
                    arrive(edge, bits, bare if carries else 0, same if passing else 0)
        return None

    def _sum(
        self,
        node: Node,
        fork: Edge,
        start: list[Use],
        others: list[Use],
        inner: set[Node],
        seen: set[Node],
        within: list[Node],
        segment: set[Node],
        skip: set[Use],
    ) -> Sum:
        graph = self.graph
        found = Sum(node, fork, within=within, cone=seen)
        for use in graph.uses[fork]:
            if use in skip:
                found.skip.append(use)
            else:
                (found.branch if use[0] in seen else found.elsewhere).append(use)
        if len(start) == 1:
            found.carried = graph.edges[start[0][0]][start[0][1]]
        if len(others) == 1:
            found.added = graph.edges[others[0][0]][others[0][1]]
        edges = [(n, i) for n in segment for i in range(len(graph.edges[n]))]
        found.gated = any(
            use not in skip and graph.edges[use[0]][use[1]] == fork for use in edges
        ) or any(
            graph.edges[n][i][0] in seen
            and graph.edges[n][i][0] not in segment
            and self.routes.reaches(graph.edges[n][i][0], fork, seen)
            for n, i in edges
        )
        if self.routes.leaks(segment, segment | inner):
            found.reason = "the shortcut's tensor is used elsewhere too"
        elif self.routes.leaks(self.routes.between(others, fork, seen), seen | inner):
            found.reason = "a tensor inside the branch is used elsewhere too"
        return found
