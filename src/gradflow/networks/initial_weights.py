"""The initializations, by name: a function that draws the weight and bias of one layer.

he_fan_out, he_fan_in   N(0, 2/fan) (He et al. 2015b, eq. 14 and 10); the head, which no
                        activation follows, uniform within +-1/sqrt(fan_in)
default                 PyTorch's: weights and biases uniform within +-1/sqrt(fan_in)
xavier                  N(0, 2/(fan_in + fan_out)) (Glorot and Bengio 2010, eq. 12)
gaussian                N(0, weight_variance/fan_in), biases N(0, bias_variance)
orthogonal              orthonormal rows or columns (Saxe et al. 2014)
delta_orthogonal        orthonormal at a kernel's center, 0 around it (Xiao et al. 2018,
                        section 2.4)
looks_linear            mirrored orthogonal weights, so that the ReLU network starts as a
                        linear map (Balduzzi et al. 2017, section 4)
critical                delta_orthogonal times sigma_w, biases N(0, bias_variance): on the edge of
                        chaos of the activation (Xiao et al. 2018, section 3)
fixup                   He; `gradflow.networks.initialization` then scales it (Zhang et al. 2019)

Biases are 0 unless said otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gradflow.config.networks import INITIALIZATIONS, NetworkConfig
from gradflow.core.errors import GradflowError
from gradflow.core.seeds import seeded

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Layer:
    """A convolution or Linear layer whose tensors are to be drawn, in place.

    Attributes:
        name: in the network, such as blocks.0.branch.conv1.
        part: the first word of its name: stem, blocks, head, ...
        weight: [rows, columns, ...], rows being outputs.
        bias: zeros, or None.
    """

    config: NetworkConfig
    name: str
    weight: Tensor
    bias: Tensor | None
    seed: int

    @property
    def part(self) -> str:
        """stem, blocks or head."""
        return self.name.split(".")[0]

    @property
    def fans(self) -> tuple[int, int]:
        """Fan in and fan out."""
        receptive = math.prod(self.weight.shape[2:])
        return self.weight.shape[1] * receptive, self.weight.shape[0] * receptive

    def generator(self, tensor: str = "weight") -> torch.Generator:
        """The random stream of one of its tensors."""
        return seeded(self.seed, "initialization", f"{self.name}.{tensor}")


@INITIALIZATIONS.named("he_fan_out")
def he_fan_out(layer: Layer) -> None:
    """N(0, 2/fan_out); the head as `default` has its weights."""
    _he(layer, layer.fans[1])


@INITIALIZATIONS.named("he_fan_in")
def he_fan_in(layer: Layer) -> None:
    """N(0, 2/fan_in); the head as `default` has its weights."""
    _he(layer, layer.fans[0])


def _he(layer: Layer, fan: int) -> None:
    if layer.part == "head":
        bound = 1 / math.sqrt(layer.fans[0])
        layer.weight.uniform_(-bound, bound, generator=layer.generator())
    else:
        layer.weight.normal_(0, math.sqrt(2 / fan), generator=layer.generator())


@INITIALIZATIONS.named("default")
def default(layer: Layer) -> None:
    """Weights and biases uniform within +-1/sqrt(fan_in)."""
    bound = 1 / math.sqrt(layer.fans[0])
    layer.weight.uniform_(-bound, bound, generator=layer.generator())
    if layer.bias is not None:
        layer.bias.uniform_(-bound, bound, generator=layer.generator("bias"))


@INITIALIZATIONS.named("xavier")
def xavier(layer: Layer) -> None:
    """N(0, 2/(fan_in + fan_out))."""
    layer.weight.normal_(0, math.sqrt(2 / sum(layer.fans)), generator=layer.generator())


@INITIALIZATIONS.named("gaussian")
def gaussian(layer: Layer) -> None:
    """N(0, weight_variance/fan_in), biases N(0, bias_variance)."""
    deviation = math.sqrt(layer.config.weight_variance / layer.fans[0])
    layer.weight.normal_(0, deviation, generator=layer.generator())
    if layer.bias is not None:
        deviation = math.sqrt(layer.config.bias_variance)
        layer.bias.normal_(0, deviation, generator=layer.generator("bias"))


@INITIALIZATIONS.named("orthogonal")
def orthogonal(layer: Layer) -> None:
    """Orthonormal rows or columns of the weight as a matrix [outputs, the rest]."""
    from torch import nn

    nn.init.orthogonal_(layer.weight, generator=layer.generator())


@INITIALIZATIONS.named("delta_orthogonal")
def delta_orthogonal(layer: Layer) -> None:
    """Orthonormal at a kernel's center, 0 around it."""
    _delta_orthogonal(layer)


@INITIALIZATIONS.named("critical")
def critical(layer: Layer) -> None:
    """The same times sigma_w of `gradflow.theory.shaped.edge_of_chaos`, with its biases."""
    from gradflow.theory.shaped import edge_of_chaos

    config = layer.config
    biases = 0.0 if layer.bias is None else config.bias_variance
    _delta_orthogonal(layer)
    layer.weight.mul_(edge_of_chaos(config.activation, biases).weight_variance ** 0.5)
    if layer.bias is not None:
        layer.bias.normal_(0, math.sqrt(biases), generator=layer.generator("bias"))


def _delta_orthogonal(layer: Layer) -> None:
    rows, columns = layer.weight.shape[:2]
    if columns > rows and layer.weight.ndim == 4:
        raise GradflowError(
            f"{layer.name}: {layer.config.initialization} needs outputs >= inputs, and it has "
            f"{columns} inputs and {rows} outputs; use orthogonal"
        )
    _center(layer.weight).copy_(_orthogonal(rows, columns, layer.generator()))


@INITIALIZATIONS.named("looks_linear")
def looks_linear(layer: Layer) -> None:
    """[W; -W] in the stem, [W, -W] in the head, [[W, -W], [-W, W]] between, W orthogonal."""
    import torch

    rows, columns = layer.weight.shape[:2]
    stem, head = layer.part == "stem", layer.part == "head"
    if (rows % 2 and not head) or (columns % 2 and not stem):
        raise GradflowError(
            f"{layer.name}: looks_linear mirrors channels, and {columns} -> {rows} cannot be "
            "halved; use even widths"
        )
    height, width = rows if head else rows // 2, columns if stem else columns // 2
    half = _orthogonal(height, width, layer.generator())
    half = half if stem else torch.cat([half, -half], dim=1)
    _center(layer.weight).copy_(half if head else torch.cat([half, -half], dim=0))


@INITIALIZATIONS.named("fixup")
def fixup(layer: Layer) -> None:
    """N(0, 2/fan_in), in the head too."""
    layer.weight.normal_(0, math.sqrt(2 / layer.fans[0]), generator=layer.generator())


def _center(weight: Tensor) -> Tensor:
    """Zeroes a kernel but for its center, and returns that as a view [out, in]."""
    if weight.ndim == 2:
        return weight
    weight.zero_()
    return weight[:, :, weight.shape[2] // 2, weight.shape[3] // 2]


def _orthogonal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    import torch

    return torch.nn.init.orthogonal_(torch.empty(rows, columns), generator=generator)
