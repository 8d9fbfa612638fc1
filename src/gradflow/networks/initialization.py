"""Initial values, one independent random stream for each tensor's name."""

import math

import torch
from torch import Tensor, nn

from gradflow.config.networks import NetworkConfig
from gradflow.core.errors import GradflowError
from gradflow.core.seeds import seeded
from gradflow.networks.layers import RMSNorm
from gradflow.networks.network import Network

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm, RMSNorm)


def initialize(network: Network, config: NetworkConfig, seed: int) -> None:
    """Draw every weight afresh from (seed, the tensor's name).

    Because a tensor's values depend on nothing but its own name, adding or removing a
    module leaves all other tensors as they were: twins start from identical tensors.

    he_fan_out, he_fan_in   N(0, 2/fan) (He et al. 2015b, eq. 14 and 10); the head, which no
                            activation follows, uniform within +-1/sqrt(fan_in)
    default                 PyTorch's: weights and biases uniform within +-1/sqrt(fan_in)
    xavier                  N(0, 2/(fan_in + fan_out)) (Glorot and Bengio 2010, eq. 12)
    gaussian                N(0, weight_variance/fan_in), biases N(0, bias_variance)
    orthogonal              orthonormal rows or columns (Saxe et al. 2014)
    delta_orthogonal        orthonormal at a kernel's centre, 0 around it (Xiao et al. 2018,
                            section 2.4)
    looks_linear            mirrored orthogonal weights, so that the ReLU network starts as a
                            linear map (Balduzzi et al. 2017, section 4)
    fixup                   He, scaled by L^(-1/(2m-2)) in a branch of m layers, its last layer
                            and the head 0 (Zhang et al. 2019)

    `zero_last` then sets the last weight of each branch, a layer's or a norm's, to 0. Biases
    are 0 but where said; norms keep scale 1, shift 0.

    Raises:
        GradflowError: the layer, if it has not the shape that the initialisation needs.
    """
    with torch.no_grad():
        for name, module in network.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                _draw(config, name, module, seed)
        if config.initialization == "fixup":
            _scale_for_fixup(network, config)
        if config.zero_last or config.initialization == "fixup":
            for block in network.blocks:
                _last_weight(block.get_submodule("branch")).zero_()
        for block in network.blocks:
            gate = getattr(block, "gate", None)
            if gate is not None:
                gate.conv.bias.fill_(getattr(config, "gate_bias"))  # noqa: B009


def _draw(config: NetworkConfig, name: str, module: nn.Conv2d | nn.Linear, seed: int) -> None:
    weight, bias = module.weight, module.bias
    generator = seeded(seed, "initialization", f"{name}.weight")
    receptive = math.prod(weight.shape[2:])
    rows, columns = weight.shape[:2]
    fan_in, fan_out = columns * receptive, rows * receptive
    bound = 1 / math.sqrt(fan_in)
    if bias is not None:
        bias.zero_()
    match config.initialization:
        case "he_fan_out" | "he_fan_in" if name.startswith("head."):
            weight.uniform_(-bound, bound, generator=generator)
        case "he_fan_out":
            weight.normal_(0, math.sqrt(2 / fan_out), generator=generator)
        case "he_fan_in" | "fixup":
            weight.normal_(0, math.sqrt(2 / fan_in), generator=generator)
        case "default":
            weight.uniform_(-bound, bound, generator=generator)
            if bias is not None:
                stream = seeded(seed, "initialization", f"{name}.bias")
                bias.uniform_(-bound, bound, generator=stream)
        case "xavier":
            weight.normal_(0, math.sqrt(2 / (fan_in + fan_out)), generator=generator)
        case "gaussian":
            weight.normal_(0, math.sqrt(config.weight_variance / fan_in), generator=generator)
            if bias is not None:
                stream = seeded(seed, "initialization", f"{name}.bias")
                bias.normal_(0, math.sqrt(config.bias_variance), generator=stream)
        case "orthogonal":
            nn.init.orthogonal_(weight, generator=generator)
        case "delta_orthogonal":
            if columns > rows and weight.ndim == 4:
                raise GradflowError(
                    f"{name}: delta_orthogonal needs outputs >= inputs, and it has "
                    f"{columns} inputs and {rows} outputs; use orthogonal"
                )
            _centre(weight).copy_(_orthogonal(rows, columns, generator))
        case "looks_linear":
            _centre(weight).copy_(_mirrored(name, rows, columns, generator))


def _centre(weight: Tensor) -> Tensor:
    """Zeroes a kernel but for its centre, and returns that as a view [out, in]."""
    if weight.ndim == 2:
        return weight
    weight.zero_()
    return weight[:, :, weight.shape[2] // 2, weight.shape[3] // 2]


def _orthogonal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    matrix = torch.empty(rows, columns)
    return nn.init.orthogonal_(matrix, generator=generator)


def _mirrored(name: str, rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """[W; -W] in the stem, [W, -W] in the head, [[W, -W], [-W, W]] between, W orthogonal."""
    stem, head = name.startswith("stem."), name.startswith("head.")
    if (rows % 2 and not head) or (columns % 2 and not stem):
        raise GradflowError(
            f"{name}: looks_linear mirrors channels, and {columns} -> {rows} cannot be halved; "
            "use even widths"
        )
    half = _orthogonal(rows if head else rows // 2, columns if stem else columns // 2, generator)
    half = half if stem else torch.cat([half, -half], dim=1)
    return half if head else torch.cat([half, -half], dim=0)


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


def _last_weight(branch: nn.Module) -> Tensor:
    """The weight of the last layer or norm of a branch."""
    weighted = [m for m in branch.modules() if isinstance(m, (nn.Conv2d, nn.Linear, *NORMS))]
    weight: Tensor = weighted[-1].get_parameter("weight")
    return weight
