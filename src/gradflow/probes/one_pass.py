"""A forward pass and what is measured in it and in its backward passes."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gradflow.probes.calls import Heard, Recording, node_number
from gradflow.probes.graph import Node
from gradflow.probes.ledger import WHOLE, Flow, Value, parts_of
from gradflow.probes.plan import Places, Plan, Row


class Pass:
    """A forward pass and what was measured in it and in its backward passes."""

    def __init__(self, loose: bool):
        self.loose = loose  # calls of parts of the network, not of the network
        self.begin = node_number()
        self.end = self.begin
        self.outputs: list[Node] = []
        self.recording: Recording | None = None
        self.heard: Heard | None = None
        self.plan: Plan | None = None
        self.rows: list[Row] = []
        self.nodes: list[Node] = []
        self.flow: Flow | None = None
        self.task = -1
        self.forward: list[Value] = []
        self.values: list[Value] = []
        self.kept: dict[int, tuple[Tensor, Tensor | None, Tensor | None]] = {}
        self.dead: list[tuple[nn.Module, Tensor, int]] = []
        self.handles: list[RemovableHandle] = []

    def release(self) -> None:
        """Let go of the graph."""
        for handle in self.handles:
            handle.remove()
        self.handles, self.outputs, self.nodes, self.flow = [], [], [], None
        self.kept = {}

    def before(self, places: Places, arrived: Sequence[Tensor | None]) -> None:
        if self.flow is not None:
            self.flow.before(places, arrived)

    def after(
        self,
        places: Places,
        both: bool,
        gone: Sequence[Tensor | None],
        arrived: Sequence[Tensor | None],
    ) -> None:
        if self.flow is not None:
            self.flow.after(places, gone, arrived)
            if both:
                self.flow.before(places, arrived)

    def collect(self, flow: Flow) -> None:
        """Take what a backward pass has measured."""
        values = [v for v in flow.values if v[1] not in flow.doubts or v[0] in WHOLE]
        if self.kept:  # one forward pass, several backward passes: parts add up first
            values = [v for v in values if v[1] not in self.kept or v[0].startswith("path")]
            for index, parts in self.kept.items():
                self.kept[index] = _added(parts, flow.kept.get(index))
                values += parts_of(index, self.rows[index], *self.kept[index])
            for index in flow.kept.keys() - self.kept.keys():
                self.kept[index] = flow.kept[index]
        else:
            self.kept = flow.kept
        self.values = values

    def count_dead(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        units = output.detach().movedim(1, -1) if output.ndim == 4 else output.detach()
        dead = (units.flatten(end_dim=-2) == 0).all(dim=0)
        self.dead.append((module, dead.double().sum(), dead.numel()))

    def dead_of_rows(self) -> list[Value]:
        found: list[Value] = []
        for index, row in enumerate(self.rows):
            inside = set(row.block.modules()) if row.block is not None and self.dead else ()
            found += [("dead", index, dead, count) for m, dead, count in self.dead if m in inside]
        return found


def _added(one: Any, other: Any) -> Any:
    if other is None:
        return one
    return tuple(
        b if a is None else a if b is None else a + b for a, b in zip(one, other, strict=True)
    )
