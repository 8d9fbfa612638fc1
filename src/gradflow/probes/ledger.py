"""Signals and gradients of blocks, and the ledger: which path the gradient came back on.

At a block y = after(S(x) + F(x)) let g be the gradient of the loss at the sum. The gradient
at x is split into two parts that add to it exactly:

    skip part    J_S^T g, S's gates and dropout masks held fixed
    branch part  all the rest, a gate's own path included
    skip share   <skip part, total> / |total|^2; it may leave [0, 1]

How the skip part is seen: S is handed an alias of x, a view that shares its values and has
its own place in the graph. What arrives there came over S alone. The graph computes bit
for bit what it computed before, as a view changes no value and its gradient is passed on
as it is. Where x is added without a module, g arrives at the branch's output.

From end to end, the product of all J_S^T (and of the masks of what follows the additions)
is applied to the gradient at the last block's output: what came back without passing any
branch.
"""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gradflow.core.errors import GradflowError
from gradflow.probes.norms import Scalar, square, squares_of_parts
from gradflow.probes.sites import Site

# Sums of squares, but for the last three; all are added up over passes.
INPUT, BRANCH, TOTAL, SKIP, REST, PATH, PATH_REST, MEAN, VARIANCE, DEAD = range(10)
QUANTITIES = 10


class _Call:
    """One call of a block: what its hooks must tell each other."""

    __slots__ = ("carried", "entered", "fork", "skip", "x")

    def __init__(self) -> None:
        self.entered = False  # x has gone into the branch
        self.carried = False  # and into the shortcut
        self.skip: Tensor | None = None  # the skip part of the gradient, once it has arrived
        # With details only: the block's input, and the tensor where the skip part arrives.
        self.x: Tensor | None = None
        self.fork: Tensor | None = None

    def let_go(self) -> None:
        """Break the circle of tensor, hook and call, which would keep the graph alive."""
        self.skip = self.x = self.fork = None


class Watch:
    """Hooks on a network's blocks that measure the passes between `start` and `stop`.

    Attributes:
        values, slots, counts: what was measured, where each value belongs
            (quantity * rows + block) and over how many elements it was summed.
        seconds: spent in the hooks since the watch was made.
    """

    def __init__(self, sites: Sequence[Site]):
        self.sites = sites
        self.rows = len(sites) + 1  # one more for the last block's output
        self.seconds = 0.0
        self._of_block: dict[nn.Module, list[int]] = {}
        for site in sites:
            self._of_block.setdefault(site.block, []).append(site.index)
        self._on = self._forward = self._details = False
        self._handles: list[RemovableHandle] = []
        self._detail_handles: list[RemovableHandle] = []
        self._made: list[_Call] = []
        self._forget()

    def _forget(self) -> None:
        for call in self._made:
            call.let_go()
        self.values: list[Scalar] = []
        self.slots: list[int] = []
        self.counts: list[int] = []
        self._calls: dict[int, _Call] = {}
        self._made = []
        self._path: Tensor | None = None

    def attach(self, network: nn.Module) -> None:
        add = self._handles.append
        add(network.register_forward_pre_hook(self._begin_forward))
        add(network.register_forward_hook(self._end_forward, always_call=True))
        for block, indices in self._of_block.items():
            sites = [self.sites[index] for index in indices]
            if all(site.is_one_module for site in sites):
                continue
            add(block.register_forward_pre_hook(partial(self._begin_block, indices)))
        for site in self.sites:
            if site.is_one_module and site.exit is not None:
                add(site.exit.register_forward_hook(partial(self._pass, site)))
            else:
                add(site.entry.register_forward_pre_hook(partial(self._enter, site)))
                if site.exit is not None:
                    add(site.exit.register_forward_hook(partial(self._leave, site)))
            if site.shortcut is not None:
                add(site.shortcut.register_forward_pre_hook(partial(self._carry, site.index)))
        add(self.sites[-1].block.register_forward_hook(self._leave_last))

    def detach(self) -> None:
        self.stop()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def start(self, *, details: bool) -> None:
        self._forget()
        self._on, self._details = True, details
        if details:
            for site in self.sites:
                for module in site.block.modules():
                    if isinstance(module, nn.ReLU | nn.ReLU6):
                        hook = partial(self._activate, site.index)
                        self._detail_handles.append(module.register_forward_hook(hook))

    def stop(self) -> None:
        self._on = self._forward = False
        self._forget()
        for handle in self._detail_handles:
            handle.remove()
        self._detail_handles.clear()

    @property
    def saw_a_pass(self) -> bool:
        return bool(self._calls)

    # Forward. A checkpointed block runs again in the backward pass, when `_forward` is off.

    def _begin_forward(self, network: nn.Module, inputs: Any) -> None:
        if not self._on:
            return
        if torch.compiler.is_compiling():
            raise GradflowError(
                f"{type(network).__name__}: compiled with hooks in place; nothing inside a "
                "compiled graph can be measured. Use blocks=None, which measures layers only"
            )
        self._forward = torch.is_grad_enabled()

    def _end_forward(self, network: nn.Module, inputs: Any, output: Any) -> None:
        self._forward = False

    def _begin_block(self, indices: list[int], block: nn.Module, inputs: Any) -> None:
        if self._forward:
            for index in indices:
                self._new_call(index)

    def _pass(self, site: Site, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """The branch, one module, was called with x and has returned F(x)."""
        if not self._forward:
            return
        start = time.perf_counter()
        x, branch = self._tensor(site, inputs), output
        call = self._calls.get(site.index)
        if call is None or call.entered:  # else the shortcut was called first
            call = self._new_call(site.index)
        call.entered = True
        self._keep(INPUT, site.index, square(x), x.numel())
        self._keep(BRANCH, site.index, square(branch), branch.numel())
        self._watch_input(site, call, x)
        if site.identity:
            self._watch_sum(call, branch)
        self.seconds += time.perf_counter() - start

    def _enter(self, site: Site, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if not self._forward:
            return
        start = time.perf_counter()
        x, call = self._tensor(site, inputs), self._calls[site.index]
        if not call.entered:  # a module may be used twice in a block: the first time counts
            call.entered = True
            self._keep(INPUT, site.index, square(x), x.numel())
            self._watch_input(site, call, x)
        self.seconds += time.perf_counter() - start

    def _leave(self, site: Site, module: nn.Module, inputs: Any, output: Any) -> None:
        if not self._forward:
            return
        start = time.perf_counter()
        branch = output[0] if isinstance(output, tuple) else output
        self._keep(BRANCH, site.index, square(branch), branch.numel())
        if site.identity:
            self._watch_sum(self._calls[site.index], branch)
        self.seconds += time.perf_counter() - start

    def _watch_input(self, site: Site, call: _Call, x: Tensor) -> None:
        if self._details:
            call.x = x
            variance, mean = torch.var_mean(x.detach().double(), correction=0)
            self._keep(MEAN, site.index, mean)
            self._keep(VARIANCE, site.index, variance)
        if x.requires_grad:
            x.register_hook(partial(self._total, site, call))

    def _watch_sum(self, call: _Call, branch: Tensor) -> None:
        """Where x is added as it is, the gradient at the sum arrives at F(x) too."""
        if branch.requires_grad:
            call.fork = branch if self._details else None
            branch.register_hook(partial(self._arrive, call))

    def _tensor(self, site: Site, inputs: tuple[Any, ...]) -> Tensor:
        x = inputs[0] if inputs else None
        if not isinstance(x, Tensor):
            raise GradflowError(f"{site.name}: its first input by position must be a tensor")
        if not torch.is_grad_enabled():
            raise GradflowError(
                f"{site.name}: runs without gradient inside a pass that has one; checkpoint "
                "with use_reentrant=False, or a probe cannot see the block"
            )
        return x

    def _carry(self, index: int, module: nn.Module, inputs: tuple[Any, ...]) -> Any:
        if not self._forward or not inputs[0].requires_grad:
            return None
        start = time.perf_counter()
        call = self._calls.get(index)
        if call is None or call.carried:
            call = self._new_call(index)
        call.carried = True
        alias = inputs[0].view_as(inputs[0])
        call.fork = alias if self._details else None
        alias.register_hook(partial(self._arrive, call))
        self.seconds += time.perf_counter() - start
        return (alias, *inputs[1:])

    def _leave_last(self, block: nn.Module, inputs: Any, output: Any) -> None:
        if not self._forward:
            return
        y = output[0] if isinstance(output, tuple) else output
        if y.requires_grad:
            end = self._new_call(self.rows - 1)
            end.x = y if self._details else None
            calls = [self._calls[index] for index in sorted(self._calls)]
            y.register_hook(partial(self._total_at_the_end, calls))

    def _activate(self, index: int, module: nn.Module, inputs: Any, output: Tensor) -> None:
        if self._forward:
            units = output.detach().movedim(1, -1) if output.ndim == 4 else output.detach()
            dead = (units.flatten(end_dim=-2) == 0).all(dim=0)
            self._keep(DEAD, index, dead.double().mean())

    # Backward.

    def _arrive(self, call: _Call, gradient: Tensor) -> None:
        if self._on:
            call.skip = gradient

    def _total(self, site: Site, call: _Call, total: Tensor) -> None:
        if not self._on:
            return
        start = time.perf_counter()
        if site.has_ledger and call.skip is not None:
            whole, skip, rest = squares_of_parts(total, call.skip)
            self._keep(SKIP, site.index, skip)
            call.skip = None
        else:  # nothing came over the shortcut, or there is none
            whole = rest = square(total)
        self._keep(TOTAL, site.index, whole)
        if site.has_ledger:
            self._keep(REST, site.index, rest)
        if site.index == 0 and self._path is not None:
            _, path, rest = squares_of_parts(total, self._path.expand_as(total))
            self._keep(PATH, 0, path)
            self._keep(PATH_REST, 0, rest)
            self._path = None
        self.seconds += time.perf_counter() - start

    def _total_at_the_end(self, calls: list[_Call], gradient: Tensor) -> None:
        if not self._on:
            return
        start = time.perf_counter()
        self._keep(TOTAL, self.rows - 1, square(gradient))
        if self._details and all(site.has_ledger for site in self.sites):
            # The hooks on the way stay silent; the graph is kept for the backward pass.
            self._on = False
            try:
                self._path = _without_branches(calls, gradient)
            finally:
                self._on = True
        self.seconds += time.perf_counter() - start

    def _new_call(self, index: int) -> _Call:
        call = self._calls[index] = _Call()
        self._made.append(call)
        return call

    def _keep(self, quantity: int, index: int, value: Scalar, count: int = 1) -> None:
        self.values.append(value)
        self.slots.append(quantity * self.rows + index)
        self.counts.append(count)


def _without_branches(calls: list[_Call], gradient: Tensor) -> Tensor:
    """The gradient at the first block's input that came back over shortcuts only.

    `calls` are the blocks' in order, and the last one holds the last block's output.
    """
    flow = gradient
    for call, following in zip(reversed(calls[:-1]), reversed(calls[1:]), strict=True):
        found = None
        if call.fork is not None and following.x is not None:
            # The gradient of this sum by x is `flow`. (To hand `flow` itself to autograd loads
            # torch's symbolic shapes first, half a second of a start.)
            with torch.enable_grad():
                carried = (following.x * flow).sum()
            [found] = torch.autograd.grad(carried, call.fork, retain_graph=True, allow_unused=True)
        if found is None:
            return torch.zeros((), dtype=gradient.dtype, device=gradient.device)
        flow = found
    return flow
