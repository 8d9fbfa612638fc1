"""Layers, and the builder that reads a string of them.

A stack of layers is a string of one letter per layer:

    c  weighted layer (convolution or Linear)   t  self-attention
    n  normalization                            b  scalar bias       (Fixup)
    a  activation                               m  scalar multiplier (Fixup)
    s  1/sqrt(l) of layer l (LayerNorm scaling)

No layer works in place, so that a probe may hook any of them.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradflow.config.blocks import Form
from gradflow.config.networks import NORMS, NetworkConfig
from gradflow.networks.activations import make_activation


class Weighted(NamedTuple):
    """A weighted layer of a stack: its outputs, and for a convolution kernel, stride and form."""

    size: int
    kernel: int = 3
    stride: int = 1
    form: Form = "plain"


def layer_stack(
    spec: str,
    config: NetworkConfig,
    in_size: int,
    weighted: Sequence[Weighted] = (),
    *,
    dims: int,
    attention: Callable[[int, bool], nn.Module] | None = None,
    layer: int = 1,
) -> nn.Sequential:
    """The layers that `spec` spells, for images (dims=2), tokens (1) or vectors (0).

    Args:
        in_size: channels, or features, of the input.
        weighted: the outputs of each `c`, in order.
        attention: makes each `t` of its size and whether it has biases.
        layer: the number, from 1 on, of the layer that the stack is in.

    Layers are named by kind and number: conv1, norm1, act1, conv2, ... A weighted layer has
    biases if and only if `config.norm` is "none", unless `config.bias` says otherwise.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    size, remaining = in_size, iter(weighted)
    bias = config.norm == "none" if config.bias is None else config.bias
    for position, letter in enumerate(spec):
        count = spec[: position + 1].count(letter)
        match letter:
            case "c":
                shape = next(remaining)
                name = "conv" if dims == 2 else "linear"
                layers[f"{name}{count}"] = _weighted(size, shape, dims=dims, bias=bias)
                size = shape.size
            case "t" if attention is not None:
                layers["attention"] = attention(size, bias)
            case "s":
                layers[f"scaling{count}"] = Scale(layer**-0.5)
            case "n" if config.norm == "none":
                pass
            case _:
                name, made = _unweighted(letter, config, size, dims)
                layers[f"{name}{count}"] = made
    return nn.Sequential(layers)


def _weighted(in_size: int, layer: Weighted, *, dims: int, bias: bool) -> nn.Module:
    if dims != 2:
        return nn.Linear(in_size, layer.size, bias=bias)
    from gradflow.networks.reparametrized import DiracConv, RepVGGConv  # which import from here

    if layer.form == "dirac":
        return DiracConv(in_size, layer.size, layer.kernel, layer.stride, bias=bias)
    if layer.form == "repvgg":
        return RepVGGConv(in_size, layer.size, layer.stride)
    padding = layer.kernel // 2
    return nn.Conv2d(in_size, layer.size, layer.kernel, layer.stride, padding, bias=bias)


def _unweighted(letter: str, config: NetworkConfig, size: int, dims: int) -> tuple[str, nn.Module]:
    """The name and the layer of any other letter."""
    match letter:
        case "n":
            return "norm", NORMS[config.norm](size, dims)
        case "a":
            return "act", make_activation(config)
        case "b":
            return "bias", ScalarBias()
        case "m":
            return "multiplier", Scale(1.0, learnable=True)
    raise ValueError(f"no layer is written {letter}")


class Projection(nn.Conv2d):
    """A 1x1 convolution of every `every`-th pixel: [B, in, H, W] -> [B, out, H/every, W/every].

    The pixels are taken first. The same convolution with a stride corrupts memory in
    torch 2.13 on AVX2 processors if channels are fewer than 8 and channels_last.
    """

    def __init__(self, in_size: int, size: int, every: int, *, bias: bool):
        super().__init__(in_size, size, 1, bias=bias)
        self.every = every

    def forward(self, x: Tensor) -> Tensor:
        """The projected pixels."""
        return super().forward(x[:, :, :: self.every, :: self.every])


class TailoredReLU(nn.Module):
    """sqrt(2 / (1 + a^2)) max(x, a x), which keeps the mean square of a standard normal x.

    Zhang et al. 2022, arXiv 2203.08120; a: `gradflow.theory.shaped.tailored_slope`.
    """

    def __init__(self, slope: float):
        super().__init__()
        self.slope = slope
        self.gain = (2 / (1 + slope**2)) ** 0.5

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        y: Tensor = self.gain * F.leaky_relu(x, self.slope)
        return y


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + eps) * scale, one scale per channel (Zhang and Sennrich 2019, eq. 4).

    The mean is over features, and for images over channels and pixels together.
    """

    def __init__(self, size: int, dims: int, eps: float = 1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.axes = (1, 2, 3) if dims == 2 else (-1,)
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """The scaled unit vectors, in the shape of x."""
        unit = x * torch.rsqrt(x.square().mean(self.axes, keepdim=True) + self.eps)
        scale = self.weight[:, None, None] if len(self.axes) == 3 else self.weight
        return unit * scale


class DynamicTanh(nn.Module):
    """scale * tanh(alpha x) + shift: one alpha, from 0.5, a scale and a shift per channel.

    It takes the place of a norm (Zhu et al. 2025, DyT, 2503.10622, eq. 1).
    """

    def __init__(self, size: int, dims: int):
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(0.5))
        self.weight = nn.Parameter(torch.ones(size))
        self.bias = nn.Parameter(torch.zeros(size))
        self.shape = (size, 1, 1) if dims == 2 else (size,)

    def forward(self, x: Tensor) -> Tensor:
        """The shape of x; channels are dimension 1 of images, else the last."""
        y = self.weight.view(self.shape) * torch.tanh(self.alpha * x)
        return y + self.bias.view(self.shape)


class Scale(nn.Module):
    """x * factor: a constant, a learnable scalar, or (with `size`) one factor per channel."""

    def __init__(self, factor: float, *, learnable: bool = False, size: int = 0, dims: int = 0):
        super().__init__()
        shape = (size, 1, 1) if size and dims == 2 else (size,) if size else ()
        factors = torch.full(shape, factor)
        if learnable:
            self.factor = nn.Parameter(factors)
        else:
            self.register_buffer("factor", factors, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x * factor."""
        return x * self.factor


class ScalarBias(nn.Module):
    """x + b, one learnable b from zero (Zhang et al. 2019, Fixup, rule 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """x + b."""
        return x + self.bias


class StochasticDepth(nn.Module):
    """Huang et al. 2016, eq. 2 and 5: x * Bernoulli(survival) in training, x * survival after.

    One draw per batch. The branch is computed even if it is dropped, so batch norm's
    running averages see every batch.
    """

    def __init__(self, survival: float):
        super().__init__()
        self.survival = survival

    def forward(self, x: Tensor) -> Tensor:
        """x, or zeros."""
        if not self.training:
            return x * self.survival
        return x * (torch.rand((), device=x.device) < self.survival).to(x.dtype)
