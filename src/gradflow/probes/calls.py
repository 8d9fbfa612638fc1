"""Which module made what: the calls of a forward pass, and the sizes of tensors at their ends."""

import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gradflow.probes.norms import Scalar, square

Key = tuple[Any, int]
"""A tensor's place in the graph: the number of the node that made it (of a leaf its identity)
and which of the node's outputs it is."""


class Source(NamedTuple):
    """Where a tensor can be seen in a forward pass: at which end of which call of a module."""

    module: nn.Module
    call: int
    end: str  # in, out
    place: int


class Signal(NamedTuple):
    """A tensor at an end of a call: its place, and sums over its elements."""

    key: Key | None
    square: Scalar
    size: int  # elements
    moments: tuple[Tensor, Tensor] | None  # mean and variance


@dataclass
class Call:
    """One call of a module: it made the nodes begin ... end - 1 of the graph."""

    module: nn.Module
    name: str
    number: int  # of this module's calls in the pass
    begin: int
    end: int = -1
    inputs: list[Signal] = field(default_factory=list)
    outputs: list[Signal] = field(default_factory=list)

    def made(self, number: int) -> bool:
        return self.begin <= number < self.end


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The floating-point tensors in nested tuples, lists, mappings and dataclasses, in order."""
    if isinstance(value, Tensor):
        if value.is_floating_point() or value.is_complex():
            yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from tensors_in(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif is_dataclass(value):
        for part in fields(value):
            yield from tensors_in(getattr(value, part.name))


def key_of(tensor: Tensor) -> Key | None:
    node = tensor.grad_fn
    if node is not None:
        return node._sequence_nr(), tensor.output_nr
    return (("leaf", id(tensor)), 0) if tensor.requires_grad else None


def node_number() -> int:
    """The number of the next node of the graph that this thread makes."""
    number: int = torch._C._autograd._get_sequence_nr()
    return number


def signal_of(tensor: Tensor, key: Key | None, details: bool) -> Signal:
    moments = None
    if details and not tensor.is_complex():
        variance, mean = torch.var_mean(tensor.detach().double(), correction=0)
        moments = mean, variance
    return Signal(key, square(tensor), tensor.numel(), moments)


class Recording:
    """All calls of a network's modules in a pass; used where its structure is not known yet."""

    def __init__(self, names: Mapping[nn.Module, str], details: bool):
        self.calls: list[Call] = []
        self._names, self._details = names, details
        self._open: list[Call] = []
        self._numbers: dict[nn.Module, int] = {}
        self._seen: dict[tuple[Key, int], Signal] = {}
        self._found = {m: dict(m._parameters) for m in names}
        self._tensors: list[weakref.ref[Tensor]] = []
        self._owned: dict[int, Any] = {}  # what stood in for a parameter -> the parameter

    def parameter(self, leaf: Tensor) -> Tensor:
        """The parameter that a leaf of the graph stands for: of a sharded one (FSDP2) the whole
        takes its place during the call."""
        known: Tensor = self._owned.get(id(leaf), leaf)
        return known

    def _note(self, module: nn.Module) -> None:
        for name, parameter in module._parameters.items():
            if parameter is not (found := self._found[module].get(name)):
                self._owned[id(parameter)] = found

    def attach(self, guard: Callable[..., Any], first: nn.Module) -> list[RemovableHandle]:
        """Hooks on all modules; `first` is already being called."""
        if first in self._names:
            self._enter(first, (), {})
        handles = []
        for module in self._names:
            pre, post = guard(self._enter), guard(self._leave)
            handles.append(module.register_forward_pre_hook(pre, with_kwargs=True))
            handles.append(module.register_forward_hook(post, with_kwargs=True))
        return handles

    def _enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        self._note(module)
        number = self._numbers.get(module, 0)
        self._numbers[module] = number + 1
        call = Call(module, self._names[module], number, node_number())
        call.inputs = self._signals((args, kwargs))
        self.calls.append(call)
        self._open.append(call)

    def _leave(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        self._note(module)
        while self._open:
            call = self._open.pop()
            call.end = node_number()
            if call.module is module:
                call.outputs = self._signals(output)
                return

    def _signals(self, values: Any) -> list[Signal]:
        return [self._signal(tensor) for tensor in tensors_in(values)]

    def _signal(self, tensor: Tensor) -> Signal:
        key = key_of(tensor)
        if key is None:
            return signal_of(tensor, None, self._details)
        self._tensors.append(weakref.ref(tensor))
        known = self._seen.get((key, tensor._version))
        if known is None:
            known = self._seen[key, tensor._version] = signal_of(tensor, key, self._details)
        return known

    def is_watched(self) -> bool:
        """Whether somebody else has hooks on a tensor at an end of a call, or retains its gradient:
        a second backward pass would run the hooks, or add to that gradient, once more."""
        there = (found for reference in self._tensors if (found := reference()) is not None)
        return any(found.retains_grad or found._backward_hooks for found in there)

    def source(self, key: Key) -> tuple[Source, Signal] | None:
        """Where the tensor of that place can be seen first."""
        for call in self.calls:
            for end, signals in (("in", call.inputs), ("out", call.outputs)):
                for place, signal in enumerate(signals):
                    if signal.key == key:
                        return Source(call.module, call.number, end, place), signal
        return None

    def maker(self, number: int) -> Call | None:
        """The innermost call that made a node."""
        return next((call for call in reversed(self.calls) if call.made(number)), None)


class Heard:
    """What `Listening` heard in a pass, by what is wanted of it."""

    def __init__(self, details: bool):
        self.details = details
        self.signals: list[tuple[Any, Signal]] = []
        self.counts: dict[int, int] = {}


class Listening:
    """Hooks for the tensors at known sources, and for nothing else.

    They are made once and put in place pass by pass, for a tenth of what registering costs.

    Args:
        wanted: source -> what to call the signal.
        guard: makes of a hook one that never raises.
    """

    def __init__(self, wanted: Mapping[Source, Any], guard: Callable[..., Any]):
        self._heard: Heard | None = None
        ends: dict[tuple[nn.Module, str], dict[int, list[tuple[int, Any]]]] = {}
        for source, label in wanted.items():
            calls = ends.setdefault((source.module, source.end), {})
            calls.setdefault(source.call, []).append((source.place, label))
        self._hooks = [
            (
                module,
                end == "in",
                RemovableHandle(OrderedDict()).id,
                guard(partial(self._hear, index, calls)),
            )
            for index, ((module, end), calls) in enumerate(ends.items())
        ]

    def attach(self, heard: Heard) -> None:
        self._heard = heard
        for module, before, number, hook in self._hooks:
            if before:
                module._forward_pre_hooks[number] = hook
                module._forward_pre_hooks_with_kwargs[number] = True
            else:
                module._forward_hooks[number] = hook
                module._forward_hooks_with_kwargs[number] = True

    def detach(self) -> None:
        if self._heard is None:
            return
        self._heard = None
        for module, before, number, _ in self._hooks:
            if before:
                module._forward_pre_hooks.pop(number, None)
                module._forward_pre_hooks_with_kwargs.pop(number, None)
            else:
                module._forward_hooks.pop(number, None)
                module._forward_hooks_with_kwargs.pop(number, None)

    def _hear(
        self,
        index: int,
        calls: Mapping[int, list[tuple[int, Any]]],
        module: nn.Module,
        args: Any,
        kwargs: Any,
        *output: Any,
    ) -> None:
        heard = self._heard
        if heard is None:
            return
        number = heard.counts.get(index, 0)
        heard.counts[index] = number + 1
        for place, label in calls.get(number, ()):
            values = output or args  # the first of them, as a rule
            tensor = values[0] if place == 0 and values else None
            if not (isinstance(tensor, Tensor) and tensor.is_floating_point()):
                values = output or (args, kwargs)
                tensor = next(islice(tensors_in(values), place, None), None)
            if tensor is not None:
                heard.signals.append((label, signal_of(tensor, None, heard.details)))
