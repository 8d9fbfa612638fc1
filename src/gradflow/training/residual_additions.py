"""The residual sums of a network's forward pass as calls of torch that add two tensors."""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge
from torch.overrides import TorchFunctionMode

from gradflow.networks.custom import ADDITIONS, Custom, Cut, operands_of
from gradflow.probes.calls import node_number
from gradflow.probes.graph import Edge, Graph, Node
from gradflow.probes.sums import Sum, find_sums


class Addition(NamedTuple):
    """An addition of a forward pass."""

    function: str
    operands: list[Edge | None]
    result: Node
    module: str  # inside of which it is done


class _Recorder(TorchFunctionMode):
    """Notes the additions of a forward pass of a network that is a copy: its hooks stay."""

    def __init__(self, network: Custom) -> None:
        super().__init__()
        self.additions: list[Addition] = []
        self._inside: list[str] = []
        for name, module in network.named_modules():
            module.register_forward_pre_hook(lambda *_, name=name: self._inside.append(name))
            module.register_forward_hook(lambda *_: self._leave(), always_call=True)

    def _leave(self) -> None:
        self._inside.pop()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        name = getattr(func, "__name__", "")
        if name not in ADDITIONS:
            return func(*args, **(kwargs or {}))
        edges = [_edge(operand) for operand in operands_of(args, kwargs or {})]
        result = func(*args, **(kwargs or {}))
        self.additions.append(Addition(name, edges, result.grad_fn, self._inside[-1]))
        return result


def _edge(operand: Any) -> Edge | None:
    if not isinstance(operand, Tensor) or not operand.requires_grad:
        return None
    node, output = get_gradient_edge(operand)[:2]
    return node, output


def residual_sums(network: Custom, images: Tensor) -> tuple[list[Sum], list[Addition]]:
    """The residual sums and the additions of a forward pass."""
    network = copy.deepcopy(network)
    torch.manual_seed(1)
    # Of the images too, so that a sum of the images themselves and a branch is found.
    if images.is_floating_point():
        images = images.clone().requires_grad_().clone()  # no leaf: it may be written to
    begin = node_number()
    with _Recorder(network) as recorder:
        output = network(images)
    if output.grad_fn is None:
        return [], recorder.additions
    graph = Graph([output.grad_fn], begin)
    # As the probes: where several operands hold no layer, it is arithmetic inside of a block.
    found = [found for found in find_sums(graph) if "hold no layer" not in found.reason]
    return found, recorder.additions


def places_of(found: Sum, additions: Sequence[Addition]) -> dict[int, Cut]:
    """The additions that take S(x) into the sum."""
    inside = {*found.cone, found.node}
    return {
        index: Cut(addition.function, addition.operands.index(found.carried))
        for index, addition in enumerate(additions)
        if found.carried in addition.operands
        and found.carried is not None
        and addition.result in inside
    }


def makers_of(residual: Custom, images: Tensor) -> tuple[str, ...]:
    """The modules that make the residual sums, if each makes one: then they are the blocks."""
    sums, additions = residual_sums(residual.train(), images)
    made = {addition.result: addition.module for addition in additions}
    names = [made.get(found.node, "") for found in sums]
    return tuple(names) if all(names) and len(set(names)) == len(names) else ()
