"""Blocks are data: one class, one builder, a short string for each placement.

A block computes y = after(S(x) + F(x)); its plain twin y = after(F(x)). Both paths are
built by `layer_stack` from a string of one letter a layer:

    c  convolution 3x3, padding 1      n  normalisation      a  activation

The basic block of He et al. 2015 (fig. 2) is F = "cnacn", after = "a".
"""

from collections import OrderedDict

from torch import Tensor, nn

from gradflow.networks.shortcuts import shortcut_a

BASIC = ("cnacn", "a")
"""(branch, after) of the original basic block."""


class Block(nn.Module):
    """y = after(S(x) + F(x)), or after(F(x)) where `skip` is false.

    Attributes:
        branch: F, the weighted path.
        shortcut: S, present in the plain twin too, where it is not called.
        after: what follows the addition, in both twins.
    """

    def __init__(self, branch: nn.Module, shortcut: nn.Module, after: nn.Module, skip: bool):
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut
        self.after = after
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        total = self.shortcut(x) + self.branch(x) if self.skip else self.branch(x)
        y: Tensor = self.after(total)
        return y


def basic_block(in_channels: int, channels: int, stride: int, norm: str, skip: bool) -> Block:
    """The basic block of He et al. 2015: [B, in, H, W] -> [B, channels, H/stride, W/stride]."""
    branch, after = BASIC
    return Block(
        layer_stack(branch, in_channels, channels, stride, norm),
        shortcut_a(in_channels, channels, stride),
        layer_stack(after, channels, channels, 1, norm),
        skip,
    )


def layer_stack(
    spec: str, in_channels: int, channels: int, stride: int, norm: str
) -> nn.Sequential:
    """The layers that `spec` spells; the first convolution changes channels and stride.

    Layers are named by kind and number: conv1, norm1, act1, conv2, ... No layer works in
    place, so that a probe may hook any of them. A convolution has biases only where no
    norm follows it. `norm="none"` leaves the norms out.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for position, letter in enumerate(spec):
        number = spec[: position + 1].count(letter)
        if letter == "c":
            normed = norm != "none" and spec[position + 1 : position + 2] == "n"
            layers[f"conv{number}"] = nn.Conv2d(
                in_channels, channels, 3, stride, padding=1, bias=not normed
            )
            in_channels, stride = channels, 1
        elif letter == "n" and norm != "none":
            layers[f"norm{number}"] = nn.BatchNorm2d(in_channels)
        elif letter == "a":
            layers[f"act{number}"] = nn.ReLU()
    return nn.Sequential(layers)
