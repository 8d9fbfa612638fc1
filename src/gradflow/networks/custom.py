"""A network that somebody else wrote, and its plain twin made from outside.

A residual sum is a call of torch that adds two tensors. While the twin's forward pass runs, a
TorchFunctionMode sees every call of torch; the calls that were found to be residual sums return
their branch operand, F(x), in place of x + F(x). All other calls are done as they are.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gradflow.core.errors import GradflowError
from gradflow.networks.network import Network

ADDITIONS = ("add", "add_", "sub", "sub_", "__add__", "__radd__", "__iadd__")
"""The names of torch's functions that add or subtract, in place with a final _ or i."""
IN_PLACE = ("add_", "sub_", "__iadd__")


class Cut(NamedTuple):
    """A residual sum: the name of the function that adds, and which operand is S(x)."""

    function: str
    carried: int


class Cuts(NamedTuple):
    """Those of a forward pass, by their number among its additions, and how many there are."""

    sums: Mapping[int, Cut]
    additions: int


class Tested(NamedTuple):
    """What the test of a plain twin has found: see `Custom`."""

    cuts: Mapping[bool, Cuts]
    marked: tuple[str, ...]


Take = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any], Cut], Any]


class Additions(TorchFunctionMode):
    """Counts the additions of a forward pass; those of `cuts` are done by `take`."""

    def __init__(self, cuts: Mapping[int, Cut], take: Take):
        super().__init__()
        self.cuts, self.take = cuts, take
        self.count = self.taken = 0

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """The call, or what takes its place."""
        name = getattr(func, "__name__", "")
        if name not in ADDITIONS:
            return func(*args, **(kwargs or {}))
        cut = self.cuts.get(self.count)
        self.count += 1
        if cut is None or cut.function != name:
            return func(*args, **(kwargs or {}))
        self.taken += 1
        return self.take(func, args, kwargs or {}, cut)


def branch_alone(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], cut: Cut
) -> Tensor:
    """F(x) of x + F(x), in the shape and type of the sum; in place if the sum is."""
    operands = operands_of(args, kwargs)
    total: Tensor = torch.broadcast_tensors(*operands)[1 - cut.carried]
    branch = total.to(torch.result_type(*operands))
    if cut.carried == 0:
        factor = kwargs.get("alpha", 1) * (-1 if cut.function.startswith("sub") else 1)
        branch = branch if factor == 1 else branch * factor
    if cut.function in IN_PLACE:
        summed: Tensor = operands[0]  # which holds the sum from here on, for others too
        return summed if cut.carried == 1 else summed.copy_(branch)
    return branch


def operands_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """The two operands of an addition."""
    return args[0] if args else kwargs["input"], args[1] if len(args) > 1 else kwargs["other"]


class Custom(Network):
    """A module whose residual sums are on, or off: x + F(x), or F(x).

    Args:
        module: what a builder returned.
        cuts: training mode or not -> the residual sums that are off; empty: they are on.
        marked: of a plain twin, the names of the modules that make its twin's residual sums: the
            probes find no sum in it, and measure these as its blocks.
    """

    def __init__(self, module: nn.Module, cuts: Mapping[bool, Cuts], marked: Sequence[str] = ()):
        super().__init__(nn.Identity(), [], nn.Identity(), checkpointed=False)
        self.module = module
        self.cuts = dict(cuts)
        self.marked = tuple(marked)

    @property
    def marked_blocks(self) -> dict[nn.Module, str]:
        """Module -> name, of `marked`."""
        return {self.get_submodule(name): name for name in self.marked}

    def forward(self, x: Tensor) -> Tensor:
        """The logits of a batch of images."""
        if not self.cuts:
            return tensor_of(self.module(x))
        sums, additions = self.cuts[self.training]
        with Additions(sums, branch_alone) as passed:
            output = tensor_of(self.module(x))
        if (passed.count, passed.taken) != (additions, len(sums)):
            raise GradflowError(
                f"{type(self.module).__name__}: this forward pass has {passed.count} additions, "
                f"{passed.taken} of them residual sums; when its twin was made there were "
                f"{additions} and {len(sums)}. Give the builder a parameter `skip`"
            )
        return output


def tensor_of(output: Any) -> Tensor:
    """A network's output as a tensor: itself, its `logits`, or its first tensor.

    Raises:
        GradflowError: it has none.
    """
    if isinstance(output, Tensor):
        return output
    found = getattr(output, "logits", None)
    values = output.values() if isinstance(output, Mapping) else output
    if found is None and isinstance(output, tuple | list | Mapping):
        found = next((value for value in values if isinstance(value, Tensor)), None)
    if not isinstance(found, Tensor):
        raise GradflowError(f"network.builder: its network puts out {type(output).__name__}")
    return found
