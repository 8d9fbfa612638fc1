"""Forward and backward passes of a network as they happen, seen without leaving anything in it.

Nothing is in the network but during a measured forward pass: a global hook of torch sees when it
is called, hooks on its modules live from then to the end of the call, hooks on the nodes of its
graph as long as that graph. So a copy or a saved network carries none.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.utils.hooks import RemovableHandle

from gradflow.probes.calls import Heard, Listening, Recording, node_number, tensors_in
from gradflow.probes.ledger import Flow, Value, is_own
from gradflow.probes.one_pass import Pass
from gradflow.probes.plan import Plan, Row
from gradflow.probes.rows import make_plan
from gradflow.probes.sites import Names

WAITING = 64  # forward passes that may wait for their backward passes; the oldest are dropped


class Passes:
    """The passes of a network between `start` and `stop`.

    Args:
        names: the blocks that the user named; None to find them.
        blocks: whether blocks are measured, or only backward passes seen.
        skipped: modules that are compiled: nothing inside is hooked.
        once: a graph may be walked only once, because walking it moves shards (FSDP2): parts are
            not checked, and the path from end to end is not measured.
        on_call: called before a forward pass that has gradients.
        on_backward: called at the start of a backward pass.
        guard: makes of a hook one that never raises.
    """

    def __init__(
        self,
        network: nn.Module,
        names: Names | None,
        blocks: bool,
        skipped: Sequence[str],
        once: bool,
        on_call: Callable[[], None],
        on_backward: Callable[[], None],
        guard: Callable[[Callable[..., Any]], Callable[..., Any]],
        warn: Callable[[str], None],
    ):
        self.network, self.names, self.blocks, self.once = network, names, blocks, once
        self.on_call, self.on_backward, self.guard, self.warn = on_call, on_backward, guard, warn
        named = {m: n for n, m in network.named_modules()}
        inside = tuple(f"{name}." if name else "" for name in skipped)
        self._tree = {
            m: n
            for m, n in named.items()
            if not (inside and n.startswith(inside))
            and getattr(m, "_compiled_call_impl", None) is None
        }
        self._members = set(named)
        self._plan: Plan | None = None
        self._listening: Listening | None = None
        self._volatile = False  # whether the network runs in several ways
        self._details = self._on = False
        self._global: RemovableHandle | None = None
        self._inner: list[RemovableHandle] = []
        self.passes: list[Pass] = []
        self.checked = once

    def start(self, *, details: bool) -> None:
        self.stop()
        self._on, self._details = True, details
        self._listen()

    def stop(self) -> None:
        self._on = False
        self._unhook()
        for each in self.passes:
            each.release()
        self.passes = []
        if self._global is not None:
            self._global.remove()
            self._global = None

    def _listen(self) -> None:
        if self._on and self._global is None:
            self._global = register_module_forward_pre_hook(self._called)

    def _unhook(self) -> None:
        for handle in self._inner:
            handle.remove()
        self._inner = []
        if self._listening is not None:
            self._listening.detach()

    # Forward.

    def _called(self, module: nn.Module, inputs: Any) -> None:
        """A module is called, from outside of every other module of the network."""
        if torch.compiler.is_compiling() or torch._C._is_tracing():
            return
        whole = getattr(module, "_orig_mod", module)
        if whole not in self._members:
            return
        if torch._C._current_graph_task_id() != -1:  # a checkpoint computes again
            if not is_own():
                self.on_backward()  # the first that is seen, if it holds the whole network
            return
        self.guard(self._enter)(module, whole is not module)

    def _enter(self, module: nn.Module, compiled: bool) -> None:
        if torch.is_grad_enabled():
            self.on_call()
        if not self._on or self._global is None:
            return
        self._global.remove()
        self._global = None
        this = None
        if torch.is_grad_enabled():
            whole = module is self.network or getattr(module, "_orig_mod", None) is self.network
            this = self._next(loose=not whole)
            if self.blocks and not compiled:
                self._attach(this, module)
            elif self.blocks:
                self.warn(f"{type(self.network).__name__}: is compiled; only layers are measured")
        # What the call leaves behind it is removed by its last hook, after an exception too.
        ended = self.guard(partial(self._leave, this))
        self._inner.append(module.register_forward_hook(ended, always_call=True))

    def _next(self, *, loose: bool) -> Pass:
        if loose and self.passes and self.passes[-1].loose and self.passes[-1].task == -1:
            return self.passes[-1]
        waiting = [each for each in self.passes if each.task == -1]
        for each in waiting[: max(0, len(waiting) - WAITING + 1)]:
            each.release()
            self.passes.remove(each)
        self.passes.append(Pass(loose))
        return self.passes[-1]

    def _attach(self, this: Pass, first: nn.Module) -> None:
        if self._plan is None or self._volatile:
            if this.recording is None:
                this.recording = Recording(self._tree, self._details)
            self._inner += this.recording.attach(self.guard, first)
        else:
            if self._listening is None:
                self._listening = Listening(self._plan.wanted, self.guard)
            if this.heard is None:
                this.heard = Heard(self._details)
            self._listening.attach(this.heard)
        if self._details:
            for module in self._tree:
                if isinstance(module, nn.ReLU | nn.ReLU6):
                    hook = self.guard(this.count_dead)
                    self._inner.append(module.register_forward_hook(hook))

    def _leave(self, this: Pass | None, module: nn.Module, inputs: Any, output: Any) -> None:
        self._unhook()
        self._listen()
        if this is None:
            return
        this.end = node_number()
        for tensor in tensors_in(output):
            node = tensor.grad_fn
            if node is not None and node not in this.outputs:
                arrived = self.guard(partial(self._arrived, this, len(this.outputs)))
                this.outputs.append(node)
                this.handles.append(node.register_prehook(arrived))

    # Backward.

    def _arrived(self, this: Pass, output: int, gradients: Any) -> None:
        """A backward pass has come to an output of the network, by position."""
        if not self._on or is_own():
            return
        self.on_backward()
        task = torch._C._current_graph_task_id()
        if not self.blocks or this.task == task:
            this.task = task
            return
        this.task = task
        first = not this.nodes
        if first and not self._hook(this):
            return
        keep = torch._C._autograd._get_current_graph_task_keep_graph()
        keep = keep or bool(this.kept)
        assert this.plan is not None
        checked = not self.checked and not capturing()
        checked = checked and bool(this.plan.ends)
        ends = this.plan.edges(this.nodes)
        path = self._details and not self.once and not this.plan.opaque
        this.flow = Flow(this.rows, ends, task=task, keep=keep, checked=checked, path=path)
        if first:  # the hook at this node comes too late
            for position, places in this.plan.spots:
                if position == output:
                    this.flow.before(places, gradients)

    def _hook(self, this: Pass) -> bool:
        """Find the rows in the pass's graph, and put hooks at their nodes."""
        outputs = list(this.outputs)
        if this.recording is not None:
            this.plan = make_plan(outputs, this.begin, this.end, this.recording, self.names)
            if not self.once and this.recording.is_watched():
                self.once = self.checked = True
            if self.once:  # no check would say whether x is used elsewhere: it may be
                for each in this.plan.rows:
                    each.elsewhere = True
            if self._plan is None:
                self._plan = this.plan
            signals = [(w, s) for labels, s in this.plan.signals for w in labels]
        elif this.heard is not None:
            this.plan = self._plan
            signals = [(w, s) for labels, s in this.heard.signals for w in labels]
        if this.plan is None:
            return False
        if self.checked and not self._details:
            this.plan = this.plan.lean()
        nodes = this.plan.follow(outputs, this.begin, this.end - this.begin)
        this.rows = this.plan.rows
        if nodes is None:
            self._volatile = True
            reason = "the network ran in another way than before; it is read again from now on"
            this.rows = [Row(row.name, None, reasons=[reason]) for row in this.rows]
            return False
        this.nodes = nodes
        for (quantity, row), signal in signals:
            this.forward.append((quantity, row, signal.square, signal.size))
            if quantity == "input" and signal.moments is not None:
                for name, value in zip(("mean", "variance"), signal.moments, strict=True):
                    this.forward.append((name, row, value, 1))
        this.forward += this.dead_of_rows()
        for position, places in this.plan.spots:
            node = nodes[position]
            both = bool(places.before) and position >= len(outputs)
            both = both and bool(places.after) and not self._details
            if places.before and not both:
                hook = self.guard(partial(this.before, places))
                this.handles.append(node.register_prehook(hook))
            if places.after or places.sums:
                hook = self.guard(partial(this.after, places, both))
                this.handles.append(node.register_hook(hook))
        return True

    def finish(self, task: int, *, accumulated: bool) -> None:
        """A backward pass has ended; one that left no gradient in .grad is not counted."""
        for this in self.passes:
            flow, this.flow = this.flow, None
            if this.task != task or flow is None:
                if this.task == task and accumulated and not this.nodes:
                    this.release()
                continue
            for index, doubt in flow.doubts.items():
                row = this.rows[index]
                row.parts = False
                row.reasons.append(doubt)
                self.warn(f"{row.name}: {doubt}; they are not recorded")
            if not accumulated:
                continue
            if flow.checked:
                self.checked = not self._volatile
            this.collect(flow)
            if not flow.keep:
                this.handles = []  # the graph is gone, and its hooks with it
                this.release()

    def restart(self) -> None:
        """Forget what backward passes have left: the gradients were set to zero."""
        done = [each for each in self.passes if each.values]
        for each in done:
            each.release()
            self.passes.remove(each)

    def measured(self) -> tuple[list[Row], list[Value]]:
        """The rows of all passes together and their values; a row is known by its name."""
        if len(self.passes) == 1:  # as a rule
            [this] = self.passes
            return this.rows, this.forward + this.values if this.values else []
        rows: list[Row] = []
        places: dict[str, int] = {}
        values: list[Value] = []
        for this in self.passes:
            for row in this.rows:
                if row.name not in places:
                    places[row.name] = len(rows)
                    rows.append(row)
            here = [places[row.name] for row in this.rows]
            found = this.forward + this.values if this.values else []
            values += [(q, here[index], value, count) for q, index, value, count in found]
        return rows, values


def capturing() -> bool:
    """Whether a CUDA graph is being captured: nothing may be read back then."""
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
