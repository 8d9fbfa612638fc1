"""Initial values, one independent random stream per tensor, seeded by its name."""

import torch
from torch import nn

from gradflow.config.networks import INITIALIZATIONS, NetworkConfig
from gradflow.config.transformers import AttentionConfig
from gradflow.networks.initial_weights import Layer
from gradflow.networks.network import Network
from gradflow.networks.shortcuts import Gate


@torch.no_grad()
def initialize(network: Network, config: NetworkConfig, seed: int) -> None:
    """Draw every weight afresh from (seed, the tensor's name), as `config.initialization` says.

    Because a tensor's values depend on nothing but its own name, adding or removing a
    module leaves all other tensors as they were: twins start from identical tensors.

    deep_norm then scales each branch (see `gradflow.config.transformers.PLACEMENTS`).
    fixup scales each branch of m layers by L^(-1/(2m-2)) for L blocks, and sets its last
    layer and the head to 0 (Zhang et al. 2019). `zero_last` sets the last weight of each branch,
    a layer's or a norm's, to 0. The biases of gates are set to their own. Norms keep scale 1 and
    shift 0.

    Raises:
        GradflowError: the layer, if it has not the shape that the initialization needs.
    """
    if config.initialization == "builder":  # of network=custom: as its builder drew them
        return
    _draw(network, config, seed)
    if isinstance(config, AttentionConfig) and (shrunk := config.placed().shrunk):
        _shrink_branches(network, shrunk.of(config.layers()))
    if config.initialization == "fixup":
        _scale_for_fixup(network, config)
    if config.zero_last or config.initialization == "fixup":
        for block in network.blocks:
            last = _last_weighted(block.get_submodule("branch"))
            last.get_parameter("weight").zero_()
            if getattr(last, "bias", None) is not None:  # some initializations draw it
                last.get_parameter("bias").zero_()
    for module in network.modules():
        if isinstance(module, Gate):
            module.set_bias()


def _draw(network: Network, config: NetworkConfig, seed: int) -> None:
    draw = INITIALIZATIONS[config.initialization]
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            if module.bias is not None:
                module.bias.zero_()
            draw(Layer(config, name, module.weight, module.bias, seed))
        elif isinstance(module, nn.Embedding):
            draw(Layer(config, name, module.weight, None, seed))


def _shrink_branches(network: Network, factor: float) -> None:
    """Scale the weights of values, attention outputs and MLPs, but not of queries and keys."""
    for block in network.blocks:
        for name, module in block.get_submodule("branch").named_modules():
            if isinstance(module, nn.Linear):
                kept = 2 * module.out_features // 3 if name.endswith("query_key_value") else 0
                module.weight[kept:] *= factor


def _scale_for_fixup(network: Network, config: NetworkConfig) -> None:
    layers = config.layers_per_block()
    power = -1 / (2 * layers - 2) if layers > 1 else 0.0
    for block in network.blocks:
        for module in block.get_submodule("branch").modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.mul_(len(network.blocks) ** power)
    for module in network.head.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.zero_()


def _last_weighted(branch: nn.Module) -> nn.Module:
    """The last layer or norm of a branch, whatever its class."""
    weighted = [m for m in branch.modules() if "weight" in dict(m.named_parameters(recurse=False))]
    return weighted[-1]
