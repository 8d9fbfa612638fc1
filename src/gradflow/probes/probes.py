"""Probes: what happens to the gradient inside any network, measured from outside."""

import time
import warnings
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gradflow.core.errors import GradflowError
from gradflow.probes import shards
from gradflow.probes.details import distribution
from gradflow.probes.gradients import Gradients
from gradflow.probes.ledger import is_own
from gradflow.probes.measurement import Measurement, to_tables
from gradflow.probes.norms import as_tensor, has_norm, norms
from gradflow.probes.passes import Passes, capturing
from gradflow.probes.plan import Row
from gradflow.probes.sites import Branch, compiled_parts, find_layers, find_names
from gradflow.probes.weights import Weights
from gradflow.records.quantities import SUMS

PLACES = {name: place for place, name in enumerate(SUMS)}
Described = tuple[list[tuple[str, str | None]], dict[int, int]]


class Probes:
    """Measures a network while it is open, then lets go of it.

        with Probes(network) as probes:
            for step, (x, y) in enumerate(batches):
                probes.arm(step)              # measure this step
                loss_of(network(x), y).backward()
                optimizer.step()
                optimizer.zero_grad()
        probes.tables()["blocks"].to_pandas()

    A measurement ends by itself, whatever the loop and the optimizer: its gradients are those
    of the backward passes since `arm`, its update is what has changed in the weights between
    the last of them and the next forward pass with gradients or `arm`. A step that is skipped
    has an update of 0. A backward pass that leaves nothing in `.grad` (torch.autograd.grad) is
    not counted.

    It computes what it computes without them, bit for bit: hooks read tensors and change
    none. Nothing is copied to the host before `tables`. What cannot be measured is null, and
    says why; nothing raises into a training, but one warning says what is missing.

    Several forward and backward passes (gradient accumulation) are one measurement: layers
    show the accumulated gradient, blocks the root of the summed squares over forward passes,
    and RMS values, means and shares are of all passes together.

    Args:
        optimizer: not needed, and not looked at.
        blocks: "auto": residual sums are found in the autograd graph. Or the blocks by name,
            see `sites.find_names`. None: measure layers only.
        branch: part of the named blocks; it decides what the graph leaves open.
        shortcut: likewise.
        scaler: a torch.amp.GradScaler in use; all norms are of the unscaled gradient.
        every: parameters of one dimension are layers too.

    Attributes:
        layers: the weighted layers, in order of definition.
        scaler: as given; what it is set to counts from the next measurement.

    Raises:
        GradflowError: there is no weighted layer or no such block; blocks are named in a network
            that torch.compile has compiled; weights are sharded, but not by FSDP2.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Any = None,
        *,
        blocks: str | None = "auto",
        branch: Branch | Sequence[Branch] | None = None,
        shortcut: str | None = None,
        scaler: Any = None,
        every: bool = False,
    ):
        shards.check(network)
        self.layers = find_layers(network, every=every)
        self._name = type(network).__name__
        compiled = compiled_parts(network)
        whole = "" in compiled
        if whole and blocks not in (None, "auto"):
            raise GradflowError(
                f"{self._name}: is compiled; nothing inside a compiled graph can be measured. "
                "Give the probes the module before torch.compile, or blocks=None"
            )
        names = None if blocks is None else find_names(network, blocks, branch, shortcut)
        self._warned: set[str] = set()
        if compiled and blocks is not None:
            parts = ", ".join(compiled[:3]) + (", ..." if len(compiled) > 3 else "")
            what = "only layers are measured" if whole else "nothing inside is measured"
            self._warn(f"{self._name if whole else parts}: is compiled; {what}")
        if blocks is not None and _ranks() > 1:
            self._warn(f"{self._name}: blocks are of this rank's examples, not of all ranks'")
        self.scaler = scaler
        self._weights = [layer.weight for layer in self.layers]
        self._index = {id(weight): index for index, weight in enumerate(self._weights)}
        self._sharded = any(shards.is_sharded(weight) for weight in self._weights)
        self._normed = [i for i, weight in enumerate(self._weights) if has_norm(weight)]
        self._moving = Weights([self._weights[i] for i in self._normed])
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        self._compiled = whole
        self._passes = Passes(
            network, names, blocks is not None and not whole, compiled, self._sharded,
            self._called, self._guarded(self._backward_begins), self._guarded, self._warn,
        )  # fmt: skip
        self._open: Measurement | None = None
        self._taken = False  # the open measurement has its gradients
        self._task = -1
        self._gradients = Gradients(self._parameters, self._weights)
        self._leaves: list[RemovableHandle] = []
        self._done: list[Measurement] = []
        self._last: tuple[list[Row], int, Described] = [], 0, ([], {})
        self._inside = False
        self.seconds = 0.0
        """What measuring has cost so far: time spent in hooks and reductions (on a GPU, to
        start them)."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.finish()
        self.disarm()
        self._moving.release()

    def arm(self, step: int, *, details: bool = False) -> None:
        """Measure the passes from here on as `step`.

        Args:
            details: measure also what takes longer: gradient histograms, moments of the
                blocks' inputs, dead units, the path from end to end.
        """
        self._guarded(self._arm)(step, details)

    def _arm(self, step: int, details: bool) -> None:
        self._close(ended=True)
        self._open = Measurement(step, details)
        one = torch.ones((), dtype=torch.float64, device=self._weights[0].device)
        self._open.pieces["loss_scale"] = one if self.scaler is None else self.scaler.scale(one)
        if self._compiled:
            self._watch_leaves()
        else:
            self._passes.start(details=details)

    @property
    def armed(self) -> Measurement | None:
        """The measurement that is open, if one is."""
        return self._open

    def disarm(self) -> None:
        """Give the open measurement up."""
        self._open, self._taken, self._task = None, False, -1
        self._gradients.clear()
        for handle in self._leaves:
            handle.remove()
        self._leaves = []
        self._passes.stop()

    def take(self) -> Measurement | None:
        """The last complete measurement, which `tables` then knows nothing of."""
        self.finish()
        return self._done.pop() if self._done else None

    def add(self, measurement: Measurement) -> None:
        """Have `tables` show a measurement as if it had been made here."""
        self._done.append(measurement)

    def gradients(self) -> None:
        """Take the gradients now, if no backward pass was seen: not needed otherwise."""
        if self._open is not None and not self._taken:
            self._guarded(self._take)()

    def finish(self) -> None:
        """End the open measurement now: after the optimizer's step, say. Not needed otherwise."""
        self._guarded(self._close)()

    def tables(self) -> dict[str, pa.Table]:
        """The rows measured since the last call, by table, and forget them.

        "layers" and "blocks"; where details were measured also "layer_details",
        "block_details" and "network_details": the columns of `gradflow.records.SCHEMAS`.
        """
        self.finish()
        start = time.perf_counter()
        found = to_tables(self._done, self.layers)
        self._done = []
        self.seconds += time.perf_counter() - start
        return found

    # The life of a measurement.

    def _called(self) -> None:
        """The network is called: if its weights have changed, the measured step is over."""
        if self._taken and self._moving.changed():
            self._close(ended=True)

    def _watch_leaves(self) -> None:
        """See a backward pass where it comes to the parameters."""
        hook = self._guarded(lambda gradient: self._backward_begins())
        self._leaves = [p.register_hook(hook) for p in self._parameters]

    def _backward_begins(self) -> None:
        task = torch._C._current_graph_task_id()
        if self._open is None or task == self._task or is_own():
            return
        if self._compiled and self._taken and self._moving.changed():
            self._close(ended=True)  # nothing saw the forward pass
            return
        self._task = task
        self._gradients.begin(first=not self._taken)
        # At the very end, after what others do to the gradients there (averages over ranks).
        engine = torch.autograd.Variable._execution_engine
        ended = self._guarded(lambda: self._backward_ended(task))
        engine.queue_callback(lambda: engine.queue_callback(ended))

    def _backward_ended(self, task: int) -> None:
        if task != self._task or self._open is None:
            return
        left = self._gradients.end(first=not self._taken)
        if left and self._gradients.reset:
            self._passes.restart()
        self._passes.finish(task, accumulated=left)
        if left:
            self._take()

    def _take(self) -> None:
        """The gradients and the weights as they are now."""
        m = self._open
        assert m is not None
        m.with_gradient, present = self._gradients.take()
        like = self._weights[0]
        m.with_norm = self._normed
        found = norms(present, like=like)
        m.pieces["gradient"] = self._whole(found, m.with_gradient) / m.pieces["loss_scale"]
        m.pieces["weight"] = self._whole(self._moving.hold(like), self._normed)
        if m.details:
            counts = [distribution(gradient) for gradient in present]
            table = torch.stack(counts) if counts else norms([], like=like)
            of = [self._weights[i] for i in m.with_gradient]
            m.pieces["distribution"] = shards.over_ranks(table, of) if self._sharded else table
        self._taken = True

    def _whole(self, found: Tensor, layers: Sequence[int]) -> Tensor:
        """Norms of layers, from those of what this rank holds of them."""
        if not self._sharded:
            return found
        return shards.over_ranks(found.square(), [self._weights[i] for i in layers]).sqrt()

    def _close(self, *, ended: bool = False) -> None:
        """End the open measurement; `ended` says that its step is over, even if no weight has
        changed."""
        m = self._open
        if m is not None and not self._taken and ended:
            self._warn(
                f"step {m.step}: no backward pass of {self._name} was seen; nothing recorded"
            )
        if m is not None and self._taken:
            if ended or capturing() or self._moving.changed():
                moved = self._moving.moved(self._weights[0])
                m.pieces["update"] = self._whole(moved, self._normed)
            rows, values = self._passes.measured()
            if rows:
                m.pieces["blocks"] = as_tensor([v[2] for v in values], self._weights[0].device)
                m.slots = [(PLACES[name], row, count) for name, row, _, count in values]
                m.rows, m.within = self._described(rows)
            self._done.append(m)
        if m is not None:
            self.disarm()

    def _described(self, rows: list[Row]) -> Described:
        """Name and reason of each row, and layer -> the row that it belongs to."""
        known, reasons, found = self._last
        now = sum([len(row.reasons) for row in rows])
        if rows is known and now == reasons:
            return found
        within: dict[int, int] = {}
        for index, row in enumerate(rows):
            # A plain block makes no sum, whose graph would say what is in it.
            own = row.block.parameters() if row.plain and row.block is not None else ()
            for leaf in row.leaves or own:
                if (layer := self._index.get(id(leaf))) is not None:
                    within.setdefault(layer, index)
        names = [(row.name, "; ".join(filter(None, row.reasons)) or None) for row in rows]
        self._last = rows, now, (names, within)
        return names, within

    def _guarded(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """`work`, timed; what goes wrong in it ends the measurement, not the training."""

        def guarded(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return work(*args, **kwargs)
            start = time.perf_counter()
            self._inside = True
            try:
                return work(*args, **kwargs)
            except Exception as error:
                self._warn(f"{self._name}: not measured: {type(error).__name__}: {error}")
                self.disarm()
                return None
            finally:
                self._inside = False
                self.seconds += time.perf_counter() - start

        return guarded

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            warnings.warn(f"probes: {text}", stacklevel=3)


def _ranks() -> int:
    """How many processes train together."""
    there = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if there else 1
