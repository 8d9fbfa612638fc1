"""The ledger: over which path the gradient came back at the fork x of a residual sum S(x) + F(x).

The gradient at x is the sum of what arrives on the edges by which x is used. Hooks on the
graph's nodes read it there and change nothing:

    total       before the node that made x: everything
    skip        on the uses of x by S: J_S^T g, g the gradient at the sum, a gate's values held
    branch      on the sum's other uses of x, a gate's own path included
    elsewhere   total - skip - branch: a long skip, an auxiliary head

    skip share  <skip, skip + branch> / |skip + branch|^2; it may leave [0, 1]

From end to end, the product of all J_S^T (and of what follows the additions) is applied to the
gradient at the last block's output: what came back without passing any branch.

In the first pass the parts are also computed by another backward pass from the sum to x, unless a
Python function is between them. A row for which they differ is switched off.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from gradflow.core.errors import GradflowError
from gradflow.probes.graph import Edge, Node
from gradflow.probes.norms import Scalar, square, squares_of_parts
from gradflow.probes.plan import SKIP, Ends, Places, Row
from gradflow.records.quantities import STREAMS

Value = tuple[str, int, Scalar, int]
"""A quantity (see `quantities.SUMS`), its row, its value and over how many elements it is."""

Parts = tuple[Tensor, Tensor | None, Tensor | None]
"""The gradient at x, its skip part and its branch part; None: nothing arrived."""

WHOLE = ("total", *STREAMS)
"""Quantities that need no split into parts."""

# Parts of a gradient agree to this number of units in the last place of its type.
UNITS = 2**10


class Flow:
    """What arrives at the rows' edges in one backward pass.

    Args:
        ends: row by row its edges in this graph; needed by `checked` and `path`.
        task: the backward pass; others that come by are not it.
        keep: keep the parts, as the graph may be walked again.
        checked: compare the parts with another backward pass.
        path: measure the path from end to end.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        ends: list[Ends],
        *,
        task: int,
        keep: bool,
        checked: bool,
        path: bool,
    ):
        self.rows, self.ends, self.task = rows, ends, task
        self.keep, self.checked, self.path = keep, checked, path
        self.values: list[Value] = []
        self.kept: dict[int, Parts] = {}
        self.doubts: dict[int, str] = {}
        self._skip: dict[int, Tensor] = {}
        self._branch: dict[int, Tensor] = {}
        self._expected: dict[int, tuple[Tensor | None, Tensor | None]] = {}
        self._through: Tensor | None = None  # the path's gradient at the first x

    def before(self, places: Places, arrived: Sequence[Tensor | None]) -> None:
        """The gradient by a node's outputs, complete."""
        if _OWN or torch._C._current_graph_task_id() != self.task:
            return
        for output, rows in places.before.items():
            total = arrived[output] if output < len(arrived) else None
            if total is not None:
                for index in rows:
                    self.total(index, total)

    def after(
        self, places: Places, gone: Sequence[Tensor | None], arrived: Sequence[Tensor | None]
    ) -> None:
        """The gradient by a node's inputs, as the node has computed it from what arrived."""
        if _OWN or torch._C._current_graph_task_id() != self.task:
            return
        for place, parts in places.after.items():
            gradient = gone[place]
            if gradient is not None:
                for index, part in parts:
                    found = self._skip if part == SKIP else self._branch
                    before = found.get(index)
                    gradient = gradient.detach()
                    found[index] = gradient if before is None else before + gradient
        if self.checked:
            for index in places.sums:
                if not self.rows[index].opaque:
                    self._expect(index, gone)
                [(node, _)] = self.ends[index]["node"]
                self.rows[index].handed = _is_handed(node, index, places, gone, arrived)

    def total(self, index: int, total: Tensor) -> None:
        total = total.detach()
        skip, branch = self._skip.pop(index, None), self._branch.pop(index, None)
        row = self.rows[index]
        if row.handed and skip is not None and skip.shape != total.shape:
            raise GradflowError(f"{row.name}: its sum broadcasts now and did not before")
        if self.keep:
            self.kept[index] = total, skip, branch
        if self.checked and row.parts:
            self._compare(index, total, skip, branch)
        self.values += parts_of(index, row, total, skip, branch)
        if self.path and index == len(self.rows) - 1:
            self._through = without_branches(self.rows, self.ends, total)
        if index == 0 and self._through is not None:
            _, path, rest = squares_of_parts(total, self._through.expand_as(total))
            self.values += [("path", 0, path, 1), ("path_rest", 0, rest, 1)]

    def _expect(self, index: int, gone: Sequence[Tensor | None]) -> None:
        """Skip part and both parts again, by a backward pass from the sum's operands to x."""
        ends = self.ends[index]
        [(node, _)], [fork] = ends["node"], ends["fork"]
        try:
            both = skip = None
            for edge, gradient in zip(node.next_functions, gone, strict=True):
                if gradient is None or edge[0] is None:
                    continue
                found = backward(edge, gradient, fork)
                if found is not None:
                    both = found if both is None else both + found
                if [edge] == ends["carried"] and not self.rows[index].gated:
                    skip = found
            self._expected[index] = both, skip
        except RuntimeError:  # a graph that can be walked only once
            pass

    def _compare(
        self, index: int, total: Tensor, skip: Tensor | None, branch: Tensor | None
    ) -> None:
        zero = torch.zeros_like(total)
        skip, branch = zero if skip is None else skip, zero if branch is None else branch
        size = float(total.abs().max()) if total.numel() else 0.0
        limit = (
            UNITS
            * torch.finfo(total.dtype).eps
            * max(size, float(skip.abs().max()), float(branch.abs().max()))
        )
        known = index in self._expected
        both, alone = self._expected.pop(index, (None, None))

        def differ(one: Tensor, other: Tensor) -> bool:
            gap = float((one - other).abs().max())
            return gap > limit

        if known and differ(zero if both is None else both, skip + branch):
            self.doubts[index] = "its parts differ from those of a second backward pass"
        elif alone is not None and differ(alone, skip):
            self.doubts[index] = "its skip part differs from that of a second backward pass"
        elif not self.rows[index].elsewhere and differ(total, skip + branch):
            self.rows[index].elsewhere = True  # x is used outside of what the network returns


def _is_handed(
    node: Node,
    index: int,
    places: Places,
    gone: Sequence[Tensor | None],
    arrived: Sequence[Tensor | None],
) -> bool:
    """Whether a row's skip part is what arrived at its sum: x is what something is added to (what
    is added may have a factor, another one in each pass)."""
    if not node.name().startswith(("AddBackward", "SubBackward")):
        return False
    if [p for p, parts in places.after.items() if (index, SKIP) in parts] != [0]:
        return False
    one, other = gone[0], arrived[0]
    return one is not None and other is not None and one.shape == other.shape


def parts_of(
    index: int, row: Row, total: Tensor, skip: Tensor | None, branch: Tensor | None
) -> list[Value]:
    """The squares of the gradient's parts at x, and of its streams."""
    streams = _streams_of(index, row, total)
    if not row.parts:
        return [("total", index, square(total), 1), *streams]
    if row.elsewhere:
        inside = total.new_zeros(()).expand_as(total)
        for part in (skip, branch):
            inside = inside if part is None else inside + part
        skip = torch.zeros_like(inside) if skip is None else skip
        both, over, rest = squares_of_parts(inside, skip)
        whole, other = square(total), square(total - inside)
    elif skip is not None:
        whole, over, rest = squares_of_parts(total, skip)
        both, other = whole, 0.0
    else:
        whole = both = rest = square(total)
        over = other = 0.0
    return [
        ("total", index, whole, 1), ("inside", index, both, 1), ("skip", index, over, 1),
        ("branch", index, rest, 1), ("elsewhere", index, other, 1), *streams,
    ]  # fmt: skip


def _streams_of(index: int, row: Row, total: Tensor) -> list[Value]:
    """The squared gradient of each stream at x, if the block's module declares `stream_axis`."""
    axis = getattr(row.block, "stream_axis", None)
    if axis is None:
        return []
    fits = isinstance(axis, int) and 0 < axis < total.ndim and total.shape[axis] > 1
    if not fits or total.shape[axis] > len(STREAMS):
        reason = (
            f"stream_axis={axis!r} of x {list(total.shape)}: must be an axis behind the first, "
            f"of 2 to {len(STREAMS)} streams"
        )
        if reason not in row.reasons:
            row.reasons.append(reason)
        return []
    streams = zip(STREAMS, total.unbind(axis), strict=False)
    return [(name, index, square(stream), 1) for name, stream in streams]


def backward(start: Edge, gradient: Tensor, end: Edge) -> Tensor | None:
    """The gradient at `end` of what has `gradient` at `start`; the graph is kept."""
    if start == end:
        return gradient.detach()
    outputs = (torch.autograd.graph.GradientEdge(*start),)
    inputs = (torch.autograd.graph.GradientEdge(*end),)
    _OWN.append(True)
    try:
        # Not torch.autograd.grad: it loads torch's symbolic shapes first, half a second of a start.
        [found] = torch.autograd.Variable._execution_engine.run_backward(
            outputs, (gradient,), True, False, inputs, True, accumulate_grad=False
        )
    finally:
        _OWN.pop()
    return None if found is None else found.detach()


_OWN: list[bool] = []  # not empty while a backward pass of `backward` runs


def is_own() -> bool:
    """Whether the backward pass that runs is one of `backward`, of any probes."""
    return bool(_OWN)


def without_branches(rows: Sequence[Row], ends: Sequence[Ends], gradient: Tensor) -> Tensor | None:
    """The gradient at the first x that came back over shortcuts only; None if a row's parts are
    not known."""
    nothing = gradient.new_zeros(())
    if not all(row.parts for row in rows[:-1]):
        return None
    flow, at = gradient, ends[-1]["fork"]
    for row, places in zip(reversed(rows[:-1]), reversed(ends[:-1]), strict=True):
        if row.plain or not at:
            return nothing if at else None
        back = backward(at[0], flow, places["node"][0])
        if back is None:
            return nothing
        over = over_shortcut(row, places, back)
        if over is None:
            return None
        flow, at = over, places["fork"]
    return flow


def over_shortcut(row: Row, ends: Ends, gradient: Tensor) -> Tensor | None:
    """J_S^T of the gradient at a sum; None if the sum is not made of additions."""
    if not ends["carried"]:
        return None
    [carried], [fork], [(node, _)] = ends["carried"], ends["fork"], ends["node"]
    over = _at_operand(node, gradient, carried)
    if over is None or not row.gated:
        return over if over is None else backward(carried, over, fork)
    seen: list[Tensor] = []
    handles = [
        user.register_hook(lambda gone, _, place=place: seen.append(gone[place]))
        for user, place in ends["skip"]
    ]
    try:
        backward(carried, over, fork)
    finally:
        for handle in handles:
            handle.remove()
    return sum(seen[1:], seen[0]) if seen else None


def _at_operand(node: Node, gradient: Tensor, operand: Edge) -> Tensor | None:
    """The gradient at an operand of a sum of sums. An addition keeps no tensors, so it can be
    called by itself."""
    if not node.name().startswith(("AddBackward", "SubBackward")):
        return None
    parts = node(gradient)
    for edge, part in zip(node.next_functions, parts, strict=True):
        if edge == operand and part is not None:
            return part  # type: ignore[no-any-return]  # torch's C function has no type
    for edge, part in zip(node.next_functions, parts, strict=True):
        if edge[0] is not None and part is not None:
            found = _at_operand(edge[0], part, operand)
            if found is not None:
                return found
    return None
