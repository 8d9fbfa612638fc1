"""Shortcuts: the path S(x) of a block, and the gates of He et al. 2016."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradflow.config.blocks import Path
from gradflow.config.networks import NORMS, BlockConfig
from gradflow.networks.layers import Projection, Scale


class PaddedShortcut(nn.Module):
    """Option A of He et al. 2015: every `stride`-th pixel, then zero channels behind the old.

    [B, C, H, W] -> [B, C + new_channels, H/stride, W/stride], or [B, C] -> [B, C + new]; it
    has no parameters, so a residual network has exactly the tensors of its plain twin.
    """

    def __init__(self, new_channels: int, stride: int):
        super().__init__()
        self.new_channels = new_channels
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Images, or vectors (of which every one is kept)."""
        if x.ndim == 2:
            return F.pad(x, (0, self.new_channels))
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))


class Gate(nn.Module):
    """Scales the paths of a block by a gate g(x) = sigmoid(W x + b).

    W is a 1x1 convolution of images (dims=2), else a Linear layer. exclusive (He et al. 2016,
    section 3.1): (1 - g) S(x) + g F(x); shortcut-only: (1 - g) S(x) + F(x). A negative b opens
    the shortcut; it starts at `bias`.
    """

    def __init__(
        self, in_size: int, size: int, stride: int, *, exclusive: bool, bias: float, dims: int = 2
    ):
        super().__init__()
        if dims == 2:
            self.conv = Projection(in_size, size, stride, bias=True)
        else:
            self.linear = nn.Linear(in_size, size)
        self.layer = "conv" if dims == 2 else "linear"
        self.exclusive = exclusive
        self.bias = bias

    @torch.no_grad()
    def set_bias(self) -> None:
        """Set b to the value that it starts at."""
        self.get_parameter(f"{self.layer}.bias").fill_(self.bias)

    def forward(self, x: Tensor, carried: Tensor, branch: Tensor) -> Tensor:
        """The weighed sum of S(x) and F(x)."""
        gate = torch.sigmoid(self.get_submodule(self.layer)(x))
        return (1 - gate) * carried + (gate * branch if self.exclusive else branch)


def make_gate(path: Path, in_size: int, size: int, stride: int) -> Gate | None:
    """The gate of a block whose shortcut has one."""
    if path.gate is None:
        return None
    exclusive = path.gate == "exclusive"
    return Gate(in_size, size, stride, exclusive=exclusive, bias=path.gate_bias)


def make_shortcut(
    config: BlockConfig, in_size: int, size: int, stride: int, *, dims: int, name: str
) -> nn.Module:
    """S(x) of a block: [B, in_size, ...] -> [B, size, .../stride].

    A: the identity, and `PaddedShortcut` if shapes change; B: a projection if they do; C: a
    projection everywhere (the 1x1 convolution of He et al. 2016, table 1). A projection is a
    1x1 convolution, or Linear layer, with the stride, and a norm unless the block begins with
    a norm or an activation. The gates and dropout work on A (in a U-Net on B).

    Raises:
        GradflowError: option A if channels shrink.
    """
    path = config.path()
    same = in_size == size and stride == 1
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if path.project == "always" or (path.project == "to fit" and not same):
        bare = config.norm == "none"
        if dims == 2:
            layers["conv"] = Projection(in_size, size, stride, bias=bare)
        else:
            layers["linear"] = nn.Linear(in_size, size, bias=bare)
        if not bare and not config.placed().before:
            layers["norm"] = NORMS[config.norm](size, dims)
    elif not same:
        if size < in_size:
            config.refuse(
                "shortcut",
                f"{name}: option A cannot shrink {in_size} channels to {size}; use B or C",
            )
        layers["pad"] = PaddedShortcut(size - in_size, stride)
    if path.dropout is not None:
        layers["dropout"] = nn.Dropout(path.dropout)
    if path.scale != 1:
        layers["scale"] = Scale(path.scale)
    if not layers:
        return nn.Identity()
    return nn.Sequential(layers) if len(layers) > 1 else next(iter(layers.values()))
