"""An oracle of residual sums that knows nothing of the autograd graph's structure.

Python's additions are caught as they are called. Of each, one operand is exchanged for a view of
it: the gradient at the view came over that operand alone; the gradient at the operand is all.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode

ADDS = {"add", "__add__", "__radd__", "__iadd__", "add_"}


class Added(NamedTuple):
    """Norms of the gradient at an operand x of an addition: all of it, and over the addition."""

    total: float
    skip: float
    share: float


class Aliases(TorchFunctionMode):
    """Exchanges the older operand of every addition of two tensors of one shape, and what is
    multiplied with a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[tuple[GradientEdge, Tensor]] = []

    def view(self, x: Tensor) -> Tensor:
        edge = get_gradient_edge(x)
        view = x.view_as(x)
        self.pairs.append((edge, view))
        return view

    def enter(self, module: nn.Module, inputs: Any) -> Any:
        """Of a module on a shortcut, its input."""
        return (self.view(inputs[0]), *inputs[1:]) if _varies(inputs[0]) else None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if len(args) == 2 and name in ("mul", "__mul__", "__rmul__"):
            scaled = [i for i in (0, 1) if _is_parameter(args[1 - i])]
            if scaled and _varies(args[scaled[0]]):
                args = tuple(self.view(a) if i == scaled[0] else a for i, a in enumerate(args))
            return func(*args, **kwargs)
        if name == "contiguous" and _varies(args[0]):  # a copy: x is what it is a copy of
            return func(self.view(args[0]), *args[1:], **kwargs)
        if name not in ADDS or len(args) != 2 or not all(map(_varies, args)):
            return func(*args, **kwargs)
        one, other = args
        if one.shape != other.shape:
            return func(*args, **kwargs)
        if _age(one) < _age(other):
            return torch.add(self.view(one), other, **kwargs)
        return func(one, self.view(other), **kwargs)


def _varies(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad and not isinstance(value, nn.Parameter)


def _is_parameter(value: Any) -> bool:
    """A parameter, or a view or a copy of one."""
    if not isinstance(value, Tensor):
        return False
    node = value.grad_fn
    while node is not None and hasattr(node, "next_functions") and node.next_functions:
        if len(node.next_functions) > 1:
            return False
        node = node.next_functions[0][0]
    return isinstance(getattr(node, "variable", value), nn.Parameter)


def _age(value: Tensor) -> int:
    return -1 if value.grad_fn is None else value.grad_fn._sequence_nr()


SHORTCUTS = ("shortcut", "downsample")


def sums_of(network: nn.Module, loss_of: Any) -> list[Added]:
    """What every addition of two tensors would be as a residual sum, in order; and every module
    that is called a shortcut."""
    named = [m for n, m in network.named_modules() if n.endswith(SHORTCUTS)]
    with Aliases() as aliases:
        handles = [module.register_forward_pre_hook(aliases.enter) for module in named]
        loss = loss_of(network)
    for handle in handles:
        handle.remove()
    found = []
    for edge, view in aliases.pairs:
        total, skip = torch.autograd.grad(loss, [edge, view], retain_graph=True, allow_unused=True)
        if total is not None and skip is not None:
            share = float((skip * total).sum() / total.square().sum())
            found.append(Added(float(total.norm()), float(skip.norm()), share))
    return found
