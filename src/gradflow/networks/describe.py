"""What a network is made of: layers, shapes, parameters, multiply-accumulates."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from gradflow.config.validation import typed
from gradflow.core.errors import GradflowError, shown


def describe(network: nn.Module, input_shape: Sequence[int]) -> pd.DataFrame:
    """A row for every module with parameters of its own, in the order of the forward pass.

    Args:
        input_shape: of one example, such as (3, 32, 32).

    Returns:
        name, kind, output (shape of one example), parameters, macs (multiply-accumulates of
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
    except (TypeError, ValueError):
        shape = ()
    if not shape or min(shape) < 1:
        raise GradflowError(
            f"input_shape={shown(input_shape)}: must be that of one example, such as (3, 32, 32)"
        )
    rows: list[dict[str, Any]] = []

    def note(name: str, module: nn.Module, output: Tensor) -> None:
        own = sum(p.numel() for p in module.parameters(recurse=False))
        rows.append(
            {
                "name": name,
                "kind": type(module).__name__,
                "output": "x".join(map(str, output.shape[1:])),
                "parameters": own,
                "macs": _layer_macs(module, output),
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
    """The number of trainable scalars."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def count_macs(network: nn.Module, input_shape: Sequence[int]) -> int:
    """Multiply-accumulates of one example's forward pass: those of its weighted layers, without
    attention's products of tokens by tokens."""
    return int(describe(network, input_shape).macs.sum())


def _layer_macs(module: nn.Module, output: Tensor) -> int:
    """Outputs times what each is a sum of."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        return output[0].numel() * module.weight[0].numel()
    return 0


@torch.no_grad()
def _forward_once(network: nn.Module, input_shape: Sequence[int]) -> None:
    """One example of zeros, in evaluation mode; the network's own mode comes back after."""
    training = network.training
    network.eval()
    try:
        weight = next(network.parameters())
        example = torch.zeros(1, *input_shape, dtype=weight.dtype, device=weight.device)
        timed = getattr(network, "time", None) is not None
        network(example, *([example.new_zeros(1)] if timed else []))
    finally:
        network.train(training)
