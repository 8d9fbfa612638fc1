"""Initial values, one independent random stream for each tensor's name."""

import math

import torch
from torch import nn

from gradflow.runtime import derive_seed


def initialize(network: nn.Module, seed: int) -> None:
    """Draw every weight afresh from (seed, the tensor's name).

    Because a tensor's values depend on nothing but its own name, adding or removing a
    module leaves all other tensors as they were: twins start from identical tensors.

    Convolutions: N(0, 2/fan_out), He et al. 2015b, eq. 14. Linear layers: uniform within
    +-1/sqrt(fan_in). Biases 0; norms are left at scale 1, shift 0.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            generator = torch.Generator().manual_seed(
                derive_seed(seed, "initialization", f"{name}.weight")
            )
            with torch.no_grad():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", generator=generator)
                else:
                    bound = 1 / math.sqrt(module.in_features)
                    nn.init.uniform_(module.weight, -bound, bound, generator=generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
