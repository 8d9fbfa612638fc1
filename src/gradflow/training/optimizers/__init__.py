"""Optimizers, one file each; here is what they have in common."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gradflow.config.optimizers import OptimizerConfig
from gradflow.config.registry import function_of

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer


def build_optimizer(config: OptimizerConfig, network: nn.Module) -> Optimizer:
    """The optimizer that `config` describes, over all parameters.

    Raises:
        GradflowError: nobody registered one for the config's class, or what was registered
            returns no optimizer of all parameters.
    """
    import torch

    parameters = list(network.parameters())
    device = parameters[0].device
    # A CUDA graph keeps the host's numbers of its capture, so there the rate is a tensor.
    rate: float | Tensor = config.learning_rate
    if device.type == "cuda":
        rate = torch.tensor(rate, device=device)
    made = function_of(config)(config, parameters, rate)
    if not isinstance(made, torch.optim.Optimizer):
        config.refuse("name", f"built {type(made).__name__}, which is no torch.optim.Optimizer")
    held = {id(p) for group in made.param_groups for p in group["params"]}
    if held != {id(p) for p in parameters}:
        config.refuse("name", f"updates {len(held)} of the network's {len(parameters)} tensors")
    return made


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """In place if it is a tensor."""
    from torch import Tensor

    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def uncompiled(
    kind: type[Optimizer], parameters: Sequence[nn.Parameter], **options: Any
) -> Optimizer:
    """The optimizer without the wrappers that tell torch.compile to keep out of it.

    Their first call loads the compiler, a second of every start, and nothing is compiled here.
    """
    import torch

    names = ("add_param_group", "step", "zero_grad")
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    methods["step"] = torch.no_grad()(methods["step"])
    made: Optimizer = type(kind.__name__, (kind,), methods)(parameters, **options)
    return made
