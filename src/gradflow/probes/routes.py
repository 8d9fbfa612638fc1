"""The ways between a residual sum and its x in the graph: which carry x, and what leaves them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gradflow.probes.graph import LAYERS, Edge, Graph, Node, Use, is_opaque


@dataclass(frozen=True)
class Scope:
    """What a user's names say of nodes: whether one is on a shortcut, or on a branch."""

    on_shortcut: Callable[[int], bool] = field(default=lambda number: False)
    on_branch: Callable[[int], bool] = field(default=lambda number: False)


class Routes:
    def __init__(self, graph: Graph, scope: Scope):
        self.graph, self.scope = graph, scope

    def carries(self, node: Node, place: int) -> bool:
        """Whether a path through this input of the node is one without a layer."""
        number, kind = self.graph.numbers[node], self.graph.kinds[node]
        if self.scope.on_shortcut(number):
            return True
        if self.scope.on_branch(number):
            return False
        if kind in ("Addmm", "Addmv", "Baddbmm", "Addbmm"):
            return place == 0
        return not (LAYERS.match(kind) or is_opaque(node))

    def reaches(self, node: Node, fork: Edge, seen: set[Node]) -> bool:
        stack, visited = [node], {node}
        while stack:
            for edge in self.graph.edges[stack.pop()]:
                if edge == fork:
                    return True
                if edge[0] in seen and edge[0] not in visited:
                    visited.add(edge[0])
                    stack.append(edge[0])
        return False

    def are_values(self, segment: set[Node], fork: Edge, seen: set[Node]) -> bool:
        """Whether x is what is carried, not a gate: in a product on the way both factors depend
        on x, but only one of them depends on a gate."""
        for member in segment:
            if self.graph.kinds[member] == "Mul" and self.graph.is_nonlinear(member):
                for edge in self.graph.edges[member]:
                    if edge != fork and not self.reaches(edge[0], fork, seen):
                        return False
        return True

    def between(self, start: Sequence[Use], fork: Edge, seen: set[Node]) -> set[Node]:
        """The nodes on all ways from operands to x."""
        return self.segment(start, fork, seen, layers=True)[0]

    def segment(
        self, start: Sequence[Use], fork: Edge, seen: set[Node], *, layers: bool
    ) -> tuple[set[Node], set[Use]]:
        """The nodes between an operand and x, and the uses of x among them; only those on paths
        without layers, unless `layers`."""
        graph = self.graph
        skip: set[Use] = set()
        ahead: dict[Node, list[Node]] = {}
        ends: list[Node] = []
        stack, visited = list(start), set(start)
        while stack:
            user, place = use = stack.pop()
            if graph.edges[user][place] == fork:
                skip.add(use)
                ends.append(user)
                continue
            source = graph.edges[user][place][0]
            if source not in seen:
                continue
            ahead.setdefault(source, []).append(user)
            for index, (edge, _) in enumerate(graph.edges[source]):
                new = (source, index)
                if edge is None or new in visited or not (layers or self.carries(source, index)):
                    continue
                visited.add(new)
                stack.append(new)
        segment: set[Node] = set()
        while ends:  # back up, from x to the operand
            member = ends.pop()
            if member in ahead and member not in segment:
                segment.add(member)
                ends += ahead[member]
        return segment, skip

    def leaks(self, nodes: set[Node], allowed: set[Node]) -> bool:
        """Whether something outside uses what the nodes make."""
        return any(
            user not in allowed
            for node in nodes
            for _, uses in _outputs_of(self.graph, node)
            for user, _ in uses
        )


def _outputs_of(graph: Graph, node: Node) -> list[tuple[Edge, list[Use]]]:
    return [((node, i), graph.uses[node, i]) for i in range(8) if (node, i) in graph.uses]
