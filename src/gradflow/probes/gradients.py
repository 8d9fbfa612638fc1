"""Gradient norms of weighted layers and of block inputs."""

from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gradflow.errors import GradflowError

WEIGHTED = (nn.Conv2d, nn.Linear)


@dataclass(frozen=True)
class Layer:
    """A weighted layer; `block_index` is None in the stem and in the head."""

    index: int
    name: str
    kind: str
    block_index: int | None
    weight: Tensor


class Gradients(NamedTuple):
    """One measurement; both tensors lie on the network's device.

    layers: [layers] Frobenius norm of d(loss)/d(weight); NaN where there is no gradient.
    block_inputs: [blocks + 1] Frobenius norm over the batch of d(loss)/d(block's input);
        the last is the head's input.
    """

    layers: Tensor
    block_inputs: Tensor


class GradientProbe:
    """Measures a network with `blocks` and a `head` while it is open, then lets go of it.

        with GradientProbe(network) as probe:
            probe.arm()                       # before the forward pass to be measured
            loss(network(x), y).backward()
            gradients = probe.read()          # before the optimiser's step

    Only an armed forward pass is hooked. The hooks read gradients and return nothing, so
    the step computes bit for bit what it computes without them.

    Raises:
        GradflowError: the network has no weighted layer or no blocks.
    """

    def __init__(self, network: nn.Module):
        self.layers = find_layers(network)
        blocks = getattr(network, "blocks", None)
        head = getattr(network, "head", None)
        if not self.layers or not isinstance(blocks, nn.Sequential | nn.ModuleList) or head is None:
            raise GradflowError(
                f"{type(network).__name__}: nothing to measure; a probe needs weighted layers, "
                "`blocks` (a Sequential or ModuleList) and a `head`"
            )
        self._measured: list[nn.Module] = [*blocks, head]
        self._handles: list[RemovableHandle] = []
        self._norms: list[Tensor | None] = []
        self._armed = False

    def __enter__(self) -> Self:
        for index, module in enumerate(self._measured):
            self._handles.append(
                module.register_forward_pre_hook(
                    lambda _, inputs, index=index: self._hook_input(index, inputs[0])
                )
            )
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
        self._norms = []
        self._armed = False

    def arm(self) -> None:
        """Measure the next forward and backward pass."""
        self._norms = [None] * len(self._measured)
        self._armed = True

    def read(self) -> Gradients:
        """The norms of the pass since `arm`, as tensors; nothing is copied to the host."""
        self._armed = False
        gradients = [layer.weight.grad for layer in self.layers]
        found = torch._foreach_norm([g for g in gradients if g is not None])
        norms = iter(found)
        missing = self.layers[0].weight.new_full((), torch.nan)
        return Gradients(
            torch.stack([missing if g is None else next(norms) for g in gradients]),
            torch.stack([missing if norm is None else norm for norm in self._norms]),
        )

    def _hook_input(self, index: int, x: Tensor) -> None:
        # A tensor's hook sees the sum over all its uses: shortcut and branch together.
        if self._armed and x.requires_grad:
            x.register_hook(lambda gradient: self._keep(index, gradient))

    def _keep(self, index: int, gradient: Tensor) -> None:
        self._norms[index] = torch.linalg.vector_norm(gradient)


def find_layers(network: nn.Module) -> list[Layer]:
    """The weighted layers in forward order, which is the order of definition here."""
    layers: list[Layer] = []
    for name, module in network.named_modules():
        if isinstance(module, WEIGHTED):
            part = name.split(".")
            block = int(part[1]) if part[0] == "blocks" else None
            layers.append(Layer(len(layers), name, type(module).__name__, block, module.weight))
    return layers
