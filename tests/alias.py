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
    """Exchanges one operand of every addition of two tensors of one shape: the older one, or
    the one that is not the output of a module named in `newer`."""

    def __init__(self, older: bool = True) -> None:
        super().__init__()
        self.older = older
        self.pairs: list[tuple[GradientEdge, Tensor]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name not in ADDS or len(args) != 2 or not all(map(_varies, args)):
            return func(*args, **kwargs)
        one, other = args
        if one.shape != other.shape:
            return func(*args, **kwargs)
        first = (_age(one) < _age(other)) == self.older
        x = one if first else other
        edge = get_gradient_edge(x)
        view = x.view_as(x)
        self.pairs.append((edge, view))
        if first:
            return torch.add(view, other, **kwargs)
        return func(one, view, **kwargs)


def _varies(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad and not isinstance(value, nn.Parameter)


def _age(value: Tensor) -> int:
    return -1 if value.grad_fn is None else value.grad_fn._sequence_nr()  # type: ignore[attr-defined]


def sums_of(network: nn.Module, loss_of: Any) -> list[Added]:
    """What every addition of two tensors would be as a residual sum, in order."""
    with Aliases() as aliases:
        loss = loss_of(network)
    found = []
    for edge, view in aliases.pairs:
        total, skip = torch.autograd.grad(
            loss, [edge, view], retain_graph=True, allow_unused=True
        )
        if total is not None and skip is not None:
            share = float((skip * total).sum() / total.square().sum())
            found.append(Added(float(total.norm()), float(skip.norm()), share))
    return found
