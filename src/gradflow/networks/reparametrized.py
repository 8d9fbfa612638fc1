"""Convolutions trained as a sum that holds the identity, and folded into one kernel afterwards."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradflow.networks.layers import Projection


class DiracConv(nn.Conv2d):
    """Convolution by diag(a) I + diag(b) W / |W| (Zagoruyko and Komodakis 2017, eq. 4).

    I is the kernel that passes channels on (output o copies input o modulo the inputs), |W| the
    norm of each output's filter; a starts at 1 and b at 0.1, both learned. With a stride it takes
    every so many pixels of both terms; the paper pools instead.
    """

    def __init__(self, in_size: int, size: int, kernel: int, stride: int, *, bias: bool):
        super().__init__(in_size, size, kernel, stride, kernel // 2, bias=bias)
        self.a = nn.Parameter(torch.ones(size))
        self.b = nn.Parameter(torch.full((size,), 0.1))
        identity = torch.zeros_like(self.weight)
        outputs = torch.arange(size)
        identity[outputs, outputs % in_size, kernel // 2, kernel // 2] = 1
        self.register_buffer("identity", identity, persistent=False)

    def kernel(self) -> Tensor:
        """[outputs, inputs, k, k], as it is applied."""
        direction = F.normalize(self.weight.flatten(1)).view_as(self.weight)
        a, b = (factor[:, None, None, None] for factor in (self.a, self.b))
        kernel: Tensor = a * self.get_buffer("identity") + b * direction
        return kernel

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] -> [B, outputs, H/stride, W/stride]."""
        y: Tensor = self._conv_forward(x, self.kernel(), self.bias)
        return y

    def folded(self) -> nn.Conv2d:
        """One convolution that computes the same."""
        return _convolution(self, self.kernel(), self.bias)


class RepVGGConv(nn.Module):
    """BN(conv3x3(x)) + BN(conv1x1(x)) + BN(x), the last if shapes allow (Ding et al. 2021, fig. 2).

    [B, in_size, H, W] -> [B, size, H/stride, W/stride]
    """

    def __init__(self, in_size: int, size: int, stride: int):
        super().__init__()
        self.conv3 = nn.Conv2d(in_size, size, 3, stride, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(size)
        self.conv1 = Projection(in_size, size, stride, bias=False)
        self.norm1 = nn.BatchNorm2d(size)
        self.norm0 = nn.BatchNorm2d(size) if in_size == size and stride == 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """The sum."""
        y: Tensor = self.norm3(self.conv3(x)) + self.norm1(self.conv1(x))
        return y if self.norm0 is None else y + self.norm0(x)

    def folded(self) -> nn.Conv2d:
        """One 3x3 convolution that computes the same in evaluation mode."""
        three, shift = _scaled(self.conv3.weight, self.norm3)
        one, more = _scaled(self.conv1.weight, self.norm1)
        kernel, bias = three + F.pad(one, (1, 1, 1, 1)), shift + more
        if self.norm0 is not None:
            identity = torch.eye(len(kernel), dtype=kernel.dtype, device=kernel.device)
            passed, more = _scaled(identity[:, :, None, None], self.norm0)
            kernel, bias = kernel + F.pad(passed, (1, 1, 1, 1)), bias + more
        return _convolution(self.conv3, kernel, bias)


@torch.no_grad()
def folded(network: nn.Module) -> nn.Module:
    """A copy whose reparametrized convolutions are single ones: the network for inference.

    It computes what the network does in evaluation mode, and has no batch statistics to train.
    """
    made = copy.deepcopy(network)
    for name, module in list(made.named_modules()):
        if isinstance(module, DiracConv | RepVGGConv):
            parent, _, own = name.rpartition(".")
            setattr(made.get_submodule(parent), own, module.folded())
    return made


def _scaled(kernel: Tensor, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """The kernel and the bias of a convolution and the batch norm behind it, in evaluation mode."""
    factor = norm.weight / (norm.get_buffer("running_var") + norm.eps).sqrt()
    shift = norm.bias - norm.get_buffer("running_mean") * factor
    return kernel * factor[:, None, None, None], shift


def _convolution(like: nn.Conv2d, kernel: Tensor, bias: Tensor | None) -> nn.Conv2d:
    """A convolution of the same stride and padding with these values."""
    made = nn.Conv2d(
        like.in_channels,
        like.out_channels,
        kernel.shape[2:],  # type: ignore[arg-type]  # a pair of them, which torch's stub types as ints
        like.stride,  # type: ignore[arg-type]  # likewise
        like.padding,  # type: ignore[arg-type]  # likewise
        bias=bias is not None,
    ).to(kernel)
    made.weight.copy_(kernel)
    if bias is not None:
        made.get_parameter("bias").copy_(bias)
    return made
