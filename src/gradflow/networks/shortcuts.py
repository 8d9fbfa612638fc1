"""Shortcuts: the path S(x) of a block, and the gates of He et al. 2016."""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradflow.config.networks import ConvolutionalConfig, MlpConfig, NetworkConfig
from gradflow.networks.layers import Projection, Scale, make_norm


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
        if x.ndim == 2:
            return F.pad(x, (0, self.new_channels))
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_channels))


class Gate(nn.Module):
    """Scales the paths of a block by a gate g(x) = sigmoid(W x + b), W a 1x1 convolution.

    exclusive (He et al. 2016, section 3.1): (1 - g) S(x) + g F(x); shortcut-only:
    (1 - g) S(x) + F(x). A negative b opens the shortcut.
    """

    def __init__(self, in_size: int, size: int, stride: int, *, exclusive: bool):
        super().__init__()
        self.conv = Projection(in_size, size, stride, bias=True)
        self.exclusive = exclusive

    def forward(self, x: Tensor, carried: Tensor, branch: Tensor) -> Tensor:
        gate = torch.sigmoid(self.conv(x))
        return (1 - gate) * carried + (gate * branch if self.exclusive else branch)


def make_shortcut(
    config: NetworkConfig, in_size: int, size: int, stride: int, *, dims: int, name: str
) -> nn.Module:
    """S(x) of a block: [B, in_size, ...] -> [B, size, .../stride].

    A: the identity, and `PaddedShortcut` where shapes change; B: a projection there; C: a
    projection everywhere (the 1x1 convolution of He et al. 2016, table 1). A projection is a
    1x1 convolution, or Linear layer, with the stride, and a norm unless the block
    normalises before its layers. The gates and dropout work on A (in a U-Net on B).

    Raises:
        GradflowError: option A where channels shrink.
    """
    kind = "A"
    if isinstance(config, ConvolutionalConfig | MlpConfig):
        kind = config.shortcut if config.shortcut in "ABC" else "A"
        if config.name.endswith("unet") and kind == "A":
            kind = "B"
    same = in_size == size and stride == 1
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if kind == "C" or (kind == "B" and not same):
        if dims == 2:
            layers["conv"] = Projection(in_size, size, stride, bias=config.norm == "none")
        else:
            layers["linear"] = nn.Linear(in_size, size, bias=config.norm == "none")
        if config.norm != "none" and "preactivation" not in getattr(config, "placement", ""):
            layers["norm"] = make_norm(config.norm, size, dims)
    elif not same:
        if size < in_size:
            config.refuse(
                "shortcut",
                f"{name}: option A cannot shrink {in_size} channels to {size}; use B or C",
            )
        layers["pad"] = PaddedShortcut(size - in_size, stride)
    if getattr(config, "shortcut", "") == "dropout":
        layers["dropout"] = nn.Dropout(getattr(config, "dropout"))  # noqa: B009
    if (factor := getattr(config, "shortcut_scale", 1.0)) != 1:
        layers["scale"] = Scale(factor)
    if not layers:
        return nn.Identity()
    return nn.Sequential(layers) if len(layers) > 1 else next(iter(layers.values()))
