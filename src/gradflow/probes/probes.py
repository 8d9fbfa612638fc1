"""Probes: what happens to the gradient inside any network, measured from outside."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gradflow.core.errors import GradflowError
from gradflow.probes.details import distribution
from gradflow.probes.ledger import Watch
from gradflow.probes.measurement import Measurement, to_tables
from gradflow.probes.norms import as_tensor, norms
from gradflow.probes.sites import Branch, find_blocks, find_layers


class Probes:
    """Measures a network while it is open, then lets go of it.

        with Probes(network, optimizer) as probes:
            for step, (x, y) in enumerate(batches):
                probes.arm(step)              # measure this step
                loss_of(network(x), y).backward()
                optimizer.step()              # here the measurement ends
                optimizer.zero_grad()
        probes.tables()["blocks"].to_pandas()

    It computes what it computes without them, bit for bit: hooks read tensors and change
    none. Nothing is copied to the host before `tables`.

    Several forward and backward passes before the optimiser's step (gradient accumulation)
    are one measurement: layers show the accumulated gradient, blocks the root of the summed
    squares over passes, and RMS values, means and shares are of all passes together.

    Args:
        optimizer: its steps end measurements and give the update norms. Without it a
            measurement ends at the next `arm` or at `tables`.
        blocks, branch, shortcut: where the residual blocks are, see `sites.find_blocks`;
            the defaults fit this package's networks. blocks=None measures layers only.
        scaler: a torch.amp.GradScaler in use; all norms are of the unscaled gradient.

    Attributes:
        layers: the weighted layers, in order.
        blocks: the residual blocks, in order.

    Raises:
        GradflowError: there is no weighted layer or no such block; or blocks are to be
            measured in a network that torch.compile has compiled.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        blocks: str | None = "blocks.*",
        branch: Branch | Sequence[Branch] | None = "branch",
        shortcut: str | None = "shortcut",
        scaler: Any = None,
    ):
        self.blocks = [] if blocks is None else find_blocks(network, blocks, branch, shortcut)
        self.layers = find_layers(network, self.blocks)
        self._network = network
        self._optimizer = optimizer
        self._scaler = scaler
        self._weights = [layer.weight for layer in self.layers]
        self._watch = Watch(self.blocks) if self.blocks else None
        self._handles: list[RemovableHandle] = []
        self._open: Measurement | None = None
        self._before: list[Tensor] = []
        self._done: list[Measurement] = []
        self._seconds = 0.0
        if self._watch is not None:
            _refuse_compiled(network)

    @property
    def seconds(self) -> float:
        """What measuring has cost so far: time spent in hooks and reductions (on a GPU, to
        start them)."""
        return self._seconds + (0.0 if self._watch is None else self._watch.seconds)

    def __enter__(self) -> Self:
        if self._watch is not None:
            self._watch.attach(self._network)
        if self._optimizer is not None:
            self._handles = [
                self._optimizer.register_step_pre_hook(self._before_update),
                self._optimizer.register_step_post_hook(self._after_update),
            ]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        try:
            if kind is None and (self._watch is None or self._watch.saw_a_pass):
                self._close()
        finally:
            self._open, self._before = None, []
            if self._watch is not None:
                self._watch.detach()

    def arm(self, step: int, *, details: bool = False) -> None:
        """Measure the passes from here to the optimiser's step as `step`.

        Args:
            details: measure also what takes longer: gradient histograms, moments of the
                blocks' inputs, dead units, the path from end to end.
        """
        start = time.perf_counter()
        self._close()
        self._open = Measurement(step, details)
        one = torch.ones((), dtype=torch.float64, device=self._weights[0].device)
        self._open.pieces["loss_scale"] = one if self._scaler is None else self._scaler.scale(one)
        if self._watch is not None:
            self._watch.start(details=details)
        self._seconds += time.perf_counter() - start

    @property
    def armed(self) -> Measurement | None:
        """The measurement that is open, if one is."""
        return self._open

    def disarm(self) -> None:
        """Give the open measurement up."""
        self._open = None
        if self._watch is not None:
            self._watch.stop()

    def take(self) -> Measurement:
        """The last complete measurement, which `tables` then knows nothing of."""
        return self._done.pop()

    def add(self, measurement: Measurement) -> None:
        """Have `tables` show a measurement as if it had been made here."""
        self._done.append(measurement)

    def gradients(self) -> None:
        """Take the gradients now: needed only where they are changed before the optimiser's
        step, as clipping does. With a scaler, after `scaler.unscale_`."""
        m = self._open
        if m is None or "gradient" in m.pieces:
            return
        if self._watch is not None and not self._watch.saw_a_pass:
            self._open = None
            raise GradflowError(
                f"step {m.step}: no forward pass of {type(self._network).__name__} since "
                "probes.arm; call the network that the probes were given, not a part of it"
            )
        start = time.perf_counter()
        found = [w.grad for w in self._weights]
        m.with_gradient = [i for i, gradient in enumerate(found) if gradient is not None]
        present = [gradient for gradient in found if gradient is not None]
        both = norms([*present, *self._weights])
        m.pieces["gradient"], m.pieces["weight"] = both[: len(present)], both[len(present) :]
        if m.details:
            m.pieces["distribution"] = (
                torch.stack([distribution(gradient) for gradient in present])
                if present
                else both[:0]
            )
        # A fused optimiser is handed scaled gradients, and the scale to take out of them.
        scale = getattr(self._optimizer, "grad_scale", None)
        if scale is not None:
            m.pieces["gradient"] = m.pieces["gradient"] / scale
        if self._watch is not None:
            m.pieces["blocks"] = as_tensor(self._watch.values, both.device)
            m.slots, m.counts = self._watch.slots, self._watch.counts
            self._watch.stop()
        self._seconds += time.perf_counter() - start

    def tables(self) -> dict[str, pa.Table]:
        """The rows measured since the last call, by table, and forget them.

        "layers" and "blocks"; where details were measured also "layer_details",
        "block_details" and "network_details": the columns of `gradflow.records.SCHEMAS`.
        """
        start = time.perf_counter()
        self._close()
        found = to_tables(self._done, self.layers, len(self.blocks))
        self._done = []
        self._seconds += time.perf_counter() - start
        return found

    def _before_update(self, *_: Any) -> None:
        if self._open is not None:
            self.gradients()
            start = time.perf_counter()
            weights = [w.detach() for w in self._weights]
            if not self._before:
                self._before = [torch.empty_like(w) for w in weights]
            torch._foreach_copy_(self._before, weights)
            self._seconds += time.perf_counter() - start

    def _after_update(self, *_: Any) -> None:
        if self._open is not None:
            start = time.perf_counter()
            torch._foreach_sub_(self._before, [w.detach() for w in self._weights])
            self._open.pieces["update"] = norms(self._before)
            self._seconds += time.perf_counter() - start
            self._close()

    def _close(self) -> None:
        """End the open measurement, if there is one."""
        if self._open is not None:
            self.gradients()
            self._done.append(self._open)
        self._open = None


def _refuse_compiled(network: nn.Module) -> None:
    for name, module in network.named_modules():
        compiled = type(module).__name__ == "OptimizedModule"
        if compiled or getattr(module, "_compiled_call_impl", None) is not None:
            raise GradflowError(
                f"{name or type(network).__name__}: is compiled; nothing inside a compiled graph "
                "can be measured. Give the probes the module before torch.compile, or "
                "blocks=None, which measures layers only"
            )
