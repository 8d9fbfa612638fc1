"""What a network is made of: layers, shapes, parameters, multiply-accumulates."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from gradflow.config.data import Shape, TokenShape
from gradflow.config.validation import typed
from gradflow.core.errors import GradflowError, shown


def describe(network: nn.Module, input_shape: Sequence[int]) -> pd.DataFrame:
    """A row for every module with parameters of its own, in the order of the forward pass.

    Args:
        input_shape: of one example, such as (3, 32, 32), or a TokenShape.

    Returns:
        name, kind, output (shape of one example; of several tensors one after the other),
        parameters (of a shared module at its first use), macs (multiply-accumulates of
        weighted layers for one example; what attention does beside its layers is not in it).

    Raises:
        GradflowError: it is no module with parameters, or takes no such example.
    """
    if not isinstance(network, nn.Module) or next(network.parameters(), None) is None:
        raise GradflowError(
            f"network={shown(type(network).__name__)}: must be a module with parameters"
        )
    try:
        shape = typed(list(input_shape), tuple[int, ...])
        if isinstance(input_shape, TokenShape):
            shape = input_shape
    except (TypeError, ValueError):
        shape = ()
    if not shape or min(shape) < 1:
        raise GradflowError(
            f"input_shape={shown(input_shape)}: must be that of one example, such as (3, 32, 32)"
        )
    rows: list[dict[str, Any]] = []
    counted: set[nn.Parameter] = set()  # of a shared module or weight only the first use counts

    def note(name: str, module: nn.Module, outputs: Any) -> None:
        own = [p for p in module.parameters(recurse=False) if p not in counted]
        counted.update(own)
        tensors = _tensors(outputs)
        rows.append(
            {
                "name": name,
                "kind": type(module).__name__,
                "output": ", ".join("x".join(map(str, t.shape[1:])) for t in tensors),
                "parameters": sum(p.numel() for p in own),
                "macs": _layer_macs(module, tensors[0]) if tensors else 0,
            }
        )

    handles = [
        module.register_forward_hook(
            lambda module, _, output, name=name: note(name, module, output)
        )
        for name, module in network.named_modules()
        if list(module.parameters(recurse=False))
    ]
    try:
        _forward_once(network, shape)
    except RuntimeError as error:
        raise GradflowError(
            f"input_shape={shown(shape)}: the network takes no such example ({shown(error, 200)})"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    return pd.DataFrame(rows)


def count_parameters(network: nn.Module) -> int:
    """The number of trainable scalars that the network uses: not the projections of a plain
    twin's shortcuts, which are there and are not called."""
    unused = {
        parameter
        for block in network.modules()
        if getattr(block, "skip", True) is False
        for part in (getattr(block, "shortcut", None), getattr(block, "gate", None))
        if isinstance(part, nn.Module)
        for parameter in part.parameters()
    }
    return sum(p.numel() for p in network.parameters() if p.requires_grad and p not in unused)


def count_macs(network: nn.Module, input_shape: Sequence[int]) -> int:
    """Multiply-accumulates of one example's forward pass: those of its weighted layers, without
    attention's products of tokens by tokens."""
    return int(describe(network, input_shape).macs.sum())


def _tensors(outputs: Any) -> list[Tensor]:
    """The tensors of a module's outputs, which may be tuples, lists and mappings of them."""
    if isinstance(outputs, Tensor):
        return [outputs]
    if isinstance(outputs, Mapping):
        outputs = list(outputs.values())
    if not isinstance(outputs, tuple | list):
        return []
    return [tensor for part in outputs for tensor in _tensors(part)]


def _layer_macs(module: nn.Module, output: Tensor) -> int:
    """Outputs times what each is a sum of."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        return output[0].numel() * module.weight[0].numel()
    return 0


def zeros(count: int, shape: Shape, dtype: torch.dtype) -> Tensor:
    """Examples of zeros, [count, *shape]; tokens are int64."""
    return torch.zeros(count, *shape, dtype=torch.int64 if isinstance(shape, TokenShape) else dtype)


@torch.no_grad()
def _forward_once(network: nn.Module, input_shape: Shape) -> None:
    """One example of zeros, in evaluation mode; the network's own mode comes back after."""
    training = network.training
    network.eval()
    try:
        weight = next(network.parameters())
        example = zeros(1, input_shape, weight.dtype).to(weight.device)
        timed = getattr(network, "time", None) is not None
        network(example, *([example.new_zeros(1)] if timed else []))
    finally:
        network.train(training)
