"""What passes from block to block in several slots, [B, T, k, C]: made, read, filled, kept."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradflow.networks.attention import SelfAttention
from gradflow.networks.layers import RMSNorm


class Around(nn.Module):
    """A branch whose layers are its own children, by the names that they have in a Sequential.

    Args:
        around: further children, which come first: the last weight is that of a layer.
    """

    def __init__(self, layers: nn.Sequential, **around: nn.Module):
        super().__init__()
        for name, module in around.items():
            self.add_module(name, module)
        for name, module in layers.named_children():
            self.add_module(name, module)
        self.order = [name for name, _ in layers.named_children()]

    def inner(self, x: Tensor) -> Tensor:
        """The layers, one after the other."""
        for name in self.order:
            x = self.get_submodule(name)(x)
        return x


class Copies(nn.Module):
    """[B, T, C] -> [B, T, count, C]."""

    def __init__(self, count: int):
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        """The same in each slot."""
        return torch.stack([x] * self.count, dim=-2)


class SumOfSlots(nn.Module):
    """[B, T, n, C] -> [B, T, C]."""

    def forward(self, x: Tensor) -> Tensor:
        """The sum."""
        return x.sum(dim=-2)


class FirstSlot(nn.Module):
    """[B, T, n, C] -> [B, T, C]."""

    def forward(self, x: Tensor) -> Tensor:
        """Slot 0."""
        return x[..., 0, :]


class LastSlot(nn.Module):
    """[B, T, n, C] -> [B, T, C]."""

    def forward(self, x: Tensor) -> Tensor:
        """The last slot."""
        return x[..., -1, :]


class AttendDepth(nn.Module):
    """[B, T, l, C] -> [B, T, C]: sum_i softmax_i(w . RMSNorm(x_i)) x_i, w from 0."""

    def __init__(self, size: int):
        super().__init__()
        self.query = nn.Parameter(torch.zeros(size))
        self.norm = RMSNorm(size, 1)

    def forward(self, x: Tensor) -> Tensor:
        """What is read of the slots."""
        shares = (self.norm(x) @ self.query).softmax(dim=-1)
        return torch.einsum("btl,btlc->btc", shares, x)


class Appending(Around):
    """[B, T, l, C] -> [B, T, l + 1, C]: zeros, and the branch of what is read, in the new slot."""

    def __init__(self, layers: nn.Sequential, read: nn.Module):
        super().__init__(layers, read=read)

    def forward(self, x: Tensor) -> Tensor:
        """0, ..., 0, F(read(x))."""
        y = self.inner(self.get_submodule("read")(x))
        return F.pad(y[..., None, :], (0, 0, x.shape[-2], 0))


class OneMoreSlot(nn.Module):
    """[B, T, l, C] -> [B, T, l + 1, C]."""

    def forward(self, x: Tensor) -> Tensor:
        """x, and zeros in the new slot."""
        return F.pad(x, (0, 0, 0, 1))


class OnLast(Around):
    """[B, T, l, C] -> the same: the branch of the last slot there, and zeros."""

    def forward(self, x: Tensor) -> Tensor:
        """0, ..., 0, F(x_l)."""
        y = self.inner(x[..., -1, :])
        return F.pad(y[..., None, :], (0, 0, x.shape[-2] - 1, 0))


class AverageDepth(nn.Module):
    """[B, T, l, C] -> [B, T, l + 1, C]: one slot more, a weighted sum of the others."""

    def __init__(self, slots: int):
        super().__init__()
        self.shares = nn.Parameter(torch.eye(slots)[-1])

    def forward(self, x: Tensor) -> Tensor:
        """x, and sum_i a_i x_i."""
        average = torch.einsum("l,btlc->btc", self.shares, x)
        return torch.cat([x, average[..., None, :]], dim=-2)


class WithValues(Around):
    """[B, T, 2, C] -> the same: F of slot 0, and the first attention's values.

    Args:
        is_first: whether the values are those of this branch's own attention.
    """

    def __init__(self, layers: nn.Sequential, *, is_first: bool):
        super().__init__(layers)
        self.is_first = is_first

    def forward(self, x: Tensor) -> Tensor:
        """F(x_0), V_1."""
        y, first = x.unbind(dim=-2)
        for name in self.order:
            layer = self.get_submodule(name)
            if not isinstance(layer, SelfAttention):
                y = layer(y)
            elif self.is_first:
                first, y = layer.values(y), layer(y)
            else:
                y = layer(y, first)
        return torch.stack([y, first], dim=-2)


class FirstSlotOnly(nn.Module):
    """[B, T, 2, C] -> the same."""

    def forward(self, x: Tensor) -> Tensor:
        """x_0, 0."""
        return F.pad(x[..., :1, :], (0, 0, 0, 1))
