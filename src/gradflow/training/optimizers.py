"""The optimisers of a config."""

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from gradflow.config.schema import AdamWConfig, OptimizerConfig, SGDConfig


def build_optimizer(config: OptimizerConfig, network: nn.Module) -> Optimizer:
    """The optimiser that `config` describes, over all parameters, fused."""
    parameters = list(network.parameters())
    device = parameters[0].device
    common: dict[str, Any] = {
        # A graph keeps the numbers of the host that it was captured with: a tensor, then.
        "lr": torch.tensor(config.learning_rate, device=device)
        if device.type == "cuda"
        else config.learning_rate,
        "weight_decay": config.weight_decay,
        "fused": True,
    }
    match config:
        case SGDConfig():
            return _made(torch.optim.SGD, parameters, momentum=config.momentum, **common)
        case AdamWConfig():
            betas = config.beta1, config.beta2
            return _made(torch.optim.AdamW, parameters, betas=betas, **common)
    raise TypeError(f"no optimiser for {config!r}")


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """In place where it is a tensor."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def _made(kind: type[Optimizer], parameters: list[nn.Parameter], **options: Any) -> Optimizer:
    """The optimiser without the wrappers that tell torch.compile to keep out of it.

    Their first call loads the compiler, a second of every start, and nothing is compiled here.
    """
    names = ("add_param_group", "step", "zero_grad")
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    methods["step"] = torch.no_grad()(methods["step"])
    made: Optimizer = type(kind.__name__, (kind,), methods)(parameters, **options)
    return made
