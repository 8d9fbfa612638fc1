"""The rows of a network: its residual sums, and the blocks that a user has named."""

from collections.abc import Sequence
from typing import Any

from gradflow.probes.calls import Call, Recording, Signal, Source
from gradflow.probes.graph import ACCUMULATE, Edge, Graph, Node, Use, is_opaque
from gradflow.probes.plan import BRANCH, SKIP, Ends, Places, Plan, Row
from gradflow.probes.routes import Scope
from gradflow.probes.sites import Names
from gradflow.probes.sums import Sum, find_sums


def make_plan(
    outputs: Sequence[Node], begin: int, end: int, recording: Recording, names: Names | None
) -> Plan:
    graph = Graph(outputs, begin)
    builder = _Builder(graph, recording)
    if names is None:
        builder.automatic()
    else:
        builder.named(names)
    return builder.plan(outputs, begin, end)


class _Builder:
    def __init__(self, graph: Graph, recording: Recording):
        self.graph, self.recording = graph, recording
        self.rows: list[Row] = []
        self.wanted: dict[Source, list[tuple[str, int]]] = {}
        self.signals: list[tuple[list[tuple[str, int]], Signal]] = []
        self.places: dict[Node, Places] = {}
        self.ends: list[Ends] = []
        self.by_key = {self.key(node): node for node in graph.nodes}

    def key(self, node: Node) -> Any:
        if self.graph.kinds[node] == ACCUMULATE:
            return ("leaf", id(node.variable))
        return self.graph.numbers[node]

    def automatic(self) -> None:
        # Where several operands hold no layer it is arithmetic inside of a block, as a rule.
        sums = [s for s in find_sums(self.graph) if "hold no layer" not in s.reason]
        last: Sum | None = None
        for found in sums:
            call = self.recording.maker(self.graph.numbers[found.node])
            row = Row(call.name if call else "", call.module if call else None)
            self.add(row, found)
            last = found
        if last is not None:
            call = self.recording.maker(self.graph.numbers[last.node])
            edge = self.edge_of(call.outputs[0]) if call and call.outputs else None
            self.add_end(edge or (last.node, 0), call)

    def edge_of(self, signal: Signal) -> Edge | None:
        if signal.key is None or signal.key[0] not in self.by_key:
            return None
        return self.by_key[signal.key[0]], signal.key[1]

    def add(self, row: Row, found: Sum, added: Signal | None = None) -> None:
        """A row for a sum of the graph; `added` is F(x) if the user has named it."""
        index = len(self.rows)
        self.rows.append(row)
        self.ends.append({"fork": [found.fork] if found.fork else [], "node": [(found.node, 0)]})
        self.ends[-1]["carried"] = [found.carried] if found.carried else []
        self.ends[-1]["skip"] = found.skip
        row.gated, row.opaque = found.gated, any(is_opaque(n) for n in found.cone)
        row.elsewhere = bool(found.elsewhere) or row.opaque  # no check says that there is none
        row.parts = not found.reason
        leaves = [leaf for node in found.within for leaf in self.graph.leaves(node)]
        row.leaves = [self.recording.parameter(leaf) for leaf in leaves]
        if found.reason:
            row.reasons.append(found.reason)
        self.total_at(index, found.fork)
        for part, uses in ((SKIP, found.skip), (BRANCH, found.branch)):
            for user, place in uses:
                self.place(user).after.setdefault(place, []).append((index, part))
        if row.parts:
            self.place(found.node).sums.append(index)
        if found.fork is not None:
            key = self.key(found.fork[0]), found.fork[1]
            self.see("input", index, self.recording.source(key), "x is no module's input or output")
        if added is None:
            seen = None
            if found.added is not None:
                seen = self.recording.source((self.key(found.added[0]), found.added[1]))
            self.see("added", index, seen, "F(x) is no module's output")

    def see(
        self, quantity: str, index: int, seen: tuple[Source, Signal] | None, reason: str
    ) -> None:
        if seen is None:
            self.rows[index].reasons.append(reason)
            return
        source, signal = seen
        self.wanted.setdefault(source, []).append((quantity, index))
        self.signals.append(([(quantity, index)], signal))

    def place(self, node: Node) -> Places:
        return self.places.setdefault(node, Places())

    def total_at(self, index: int, fork: Edge | None) -> None:
        if fork is not None:
            self.place(fork[0]).before.setdefault(fork[1], []).append(index)

    def add_end(self, edge: Edge | None, call: Call | None) -> None:
        """The last row: the gradient at the last block's output."""
        self.rows.append(Row("end of " + call.name if call else "end", None))
        self.ends.append({"fork": [edge] if edge else []})
        self.total_at(len(self.rows) - 1, edge)

    # Blocks by name.

    def named(self, names: Names) -> None:
        calls = [c for c in self.recording.calls if c.module in names.blocks and c.end >= 0]
        spans = [(c, self._spans(c, names)) for c in calls]
        shortcuts = [s for call in calls for s in self._inside(call, names.shortcut)]
        branches = [m for _, parts in spans for pair in parts for m in pair if m is not None]
        scope = Scope(
            on_shortcut=lambda number: any(call.made(number) for call in shortcuts),
            on_branch=lambda number: any(call.made(number) for call in branches),
        )
        sums = find_sums(self.graph, scope)
        for call, parts in spans:
            others = [c for c in calls if call.begin <= c.begin and c.end <= call.end and c != call]
            mine = [s for s in sums if self._belongs(s, call, others, parts)]
            if names.branches is None:
                unsplit: list[Sum | None] = [None]
                for found in mine or unsplit:
                    self._block(call, found, None, names)
            for entry, leave in parts:
                chosen = self._ending(mine, leave)
                if chosen is not None:
                    mine.remove(chosen)
                self._block(call, chosen, (entry, leave), names)
        if calls:
            last = calls[-1]
            edge = self.edge_of(last.outputs[0]) if last.outputs else None
            self.add_end(edge, last)

    def _inside(self, call: Call, name: str | None) -> list[Call]:
        """The calls of a named part of a block during one of the block's calls."""
        if name in (None, "identity"):
            return []
        module = dict(call.module.named_modules()).get(name)
        return [
            c
            for c in self.recording.calls
            if c.module is module and call.begin <= c.begin and c.end <= call.end
        ]

    def _spans(self, call: Call, names: Names) -> list[tuple[Call | None, Call | None]]:
        """The calls of each branch's first and last module."""
        found = []
        used: dict[str, int] = {}
        for first, last in names.branches or ():
            ends = []
            for name in (first, last):
                inside = self._inside(call, name)
                number = used.get(name, 0)
                ends.append(inside[min(number, len(inside) - 1)] if inside else None)
            for name in {first, last}:
                used[name] = used.get(name, 0) + 1
            found.append((ends[0], ends[1]))
        return found

    def _belongs(self, s: Sum, call: Call, others: list[Call], parts: list[Any]) -> bool:
        number = self.graph.numbers[s.node]
        inner = [end for pair in parts for end in pair if end is not None] + others
        return call.made(number) and not any(c.made(number) for c in inner)

    def _ending(self, sums: list[Sum], leave: Call | None) -> Sum | None:
        """The sum that the branch's last module ends in."""
        if leave is None:  # it is compiled
            return sums[0] if len(sums) == 1 else None
        if not leave.outputs or leave.outputs[0].key is None:
            return sums[0] if sums else None
        edge = self.edge_of(leave.outputs[0])
        for s in sums:
            if edge is not None and edge[0] in s.cone:
                return s
        return None

    def _block(
        self,
        call: Call,
        found: Sum | None,
        ends: tuple[Call | None, Call | None] | None,
        names: Names,
    ) -> None:
        index = len(self.rows)
        row = Row(call.name, call.module)
        entry, leave = ends or (call, None)
        added = leave.outputs[0] if leave and leave.outputs else None
        if found is not None:
            self.add(row, found, added)
        else:
            self.rows.append(row)
            first = (entry or call).inputs or call.inputs
            x = first[0] if first else None
            fork = self.edge_of(x) if x is not None else None
            self.ends.append({"fork": [fork] if fork else []})
            self.total_at(index, fork)
            if x is not None:
                owner = entry if entry and entry.inputs else call
                self.see("input", index, (Source(owner.module, owner.number, "in", 0), x), "")
            self._unsplit(index, fork, call, leave, names)
        if added is not None and leave is not None:
            self.see("added", index, (Source(leave.module, leave.number, "out", 0), added), "")

    def _unsplit(
        self, index: int, fork: Edge | None, call: Call, leave: Call | None, names: Names
    ) -> None:
        """A block without a residual sum: a plain one has a skip part of 0."""
        row = self.rows[index]
        if fork is not None and call.outputs and call.outputs[0].key is None:
            row.reasons.append("runs without gradient; checkpoint with use_reentrant=False")
        elif fork is None:
            row.reasons.append("its input needs no gradient")
        elif leave is None or names.shortcut is None:
            row.reasons.append("no residual sum was found in it")
        elif self._only_through(call, leave, fork):
            row.parts = row.plain = True
            for user, place in self.graph.uses[fork]:
                if call.made(self.graph.numbers[user]):
                    self.place(user).after.setdefault(place, []).append((index, BRANCH))
                else:
                    row.elsewhere = True
        else:
            row.reasons.append(f"no residual sum was found that ends {leave.name}")

    def _only_through(self, call: Call, leave: Call, fork: Edge) -> bool:
        """Whether every way from the block's output to its input passes the branch's output."""
        start = self.edge_of(call.outputs[0]) if call.outputs else None
        stop = self.edge_of(leave.outputs[0]) if leave.outputs else None
        if start is None or stop is None:
            return False
        stack, seen = [start], {start}
        while stack:
            edge = stack.pop()
            if edge == fork:
                return False
            if edge == stop or self.graph.numbers[edge[0]] < call.begin:
                continue
            for ahead in self.graph.edges[edge[0]]:
                if ahead[0] is not None and ahead not in seen:
                    seen.add(ahead)
                    stack.append(ahead)
        return True

    # Paths from the outputs.

    def plan(self, outputs: Sequence[Node], begin: int, end: int) -> Plan:
        _number_names(self.rows)
        positions = {node: index for index, node in enumerate(dict.fromkeys(outputs))}
        steps: list[tuple[int, int, int]] = []

        def position(node: Node) -> int:
            path: list[tuple[Node, Use]] = []
            while node not in positions:
                use = self.graph.came[node]
                assert use is not None
                path.append((node, use))
                node = use[0]
            for target, (user, place) in reversed(path):
                number = self.graph.numbers[target]
                steps.append((positions[user], place, number - begin if number >= 0 else -1))
                positions[target] = len(positions)
            return positions[path[0][0] if path else node]

        spots = [(position(node), places) for node, places in self.places.items()]
        ends = [
            {label: [(position(node), i) for node, i in found] for label, found in row.items()}
            for row in self.ends
        ]
        consumers = {}
        for node, places in self.places.items():
            users = self.graph.uses.get((node, 0), [])
            if places.sums and len(users) == 1 and users[0][0] in positions:
                consumers[positions[node]] = positions[users[0][0]], users[0][1]
        numbers = [self.graph.numbers[node] - begin for node in dict.fromkeys(outputs)]
        return Plan(
            self.rows,
            self.wanted,
            self.signals,
            numbers,
            steps,
            spots,
            ends,
            consumers,
            end - begin,
            any(is_opaque(node) for node in self.graph.nodes),
        )


def _number_names(rows: list[Row]) -> None:
    """`block` -> `block:1`, `block:2` if a name is used more than once."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.name] = counts.get(row.name, 0) + 1
    given: dict[str, int] = {}
    for row in rows:
        if counts[row.name] > 1:
            given[row.name] = given.get(row.name, 0) + 1
            row.name = f"{row.name}:{given[row.name]}"
