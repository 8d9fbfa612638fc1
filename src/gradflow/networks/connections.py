"""How blocks are connected: what passes from block to block, and what S and F do with it.

Each connection is a block y = after(S(x) + F(x)) of some state x, so that its plain twin is
y = after(F(x)), as everywhere. In the state [B, T, k, C] slot by slot:

    streams  S mixes the n streams, F reads one vector of them and writes to all
    stack    S keeps the outputs so far, F reads one vector of them and fills the next slot
    values   slot 0 is x, slot 1 the first attention's values, which F passes on

The layers of a branch keep the names that they have without a connection, and so their initial
weights. Weights of connections are parameters of one dimension: no layers.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from torch import nn

from gradflow.config.transformers import AttentionConfig
from gradflow.networks.shortcuts import Gate
from gradflow.networks.slots import (
    Appending,
    AttendDepth,
    AverageDepth,
    Copies,
    FirstSlot,
    FirstSlotOnly,
    LastSlot,
    OneMoreSlot,
    OnLast,
    SumOfSlots,
    WithValues,
)
from gradflow.networks.streams import Mix, StreamBranch, weights_of

SLOTS = 2  # the axis of [B, T, k, C]
HIGHWAY_BIAS = -2.0  # of the gate at first: negative, as in Srivastava et al. 2015, section 2.2


class Parts(NamedTuple):
    """The parts of a block; None: as without a connection."""

    branch: nn.Module
    shortcut: nn.Module | None = None
    after: nn.Module | None = None
    gate: Gate | None = None
    stream_axis: int | None = None


class State(Protocol):
    """What passes from block to block: how it is made of [B, T, C], used, and made that again."""

    def entrance(self) -> Sequence[nn.Module]:
        """After the embedding."""
        ...

    def parts(self, layers: nn.Sequential, index: int) -> Parts:
        """Of block `index`, whose branch has these layers."""
        ...

    def exit(self) -> Sequence[nn.Module]:
        """Before the head."""
        ...


def connection_of(config: AttentionConfig) -> State:
    """The state that a config's connection passes on."""
    row = config.connected()
    match row.state:
        case "streams":
            return Streams(config)
        case "stack":
            return Stack(config)
        case "values":
            return Values()
    return One(config)


class One:
    """One tensor [B, T, C]; the gate is that of highway networks, around a pre-norm branch."""

    def __init__(self, config: AttentionConfig):
        self.gated, self.size = config.connected().gated, config.width

    def entrance(self) -> Sequence[nn.Module]:
        """Nothing."""
        return ()

    def parts(self, layers: nn.Sequential, index: int) -> Parts:
        """The branch, and the gate if there is one."""
        gate = None
        if self.gated:
            gate = Gate(self.size, self.size, 1, exclusive=True, bias=HIGHWAY_BIAS, dims=1)
        return Parts(layers, gate=gate)

    def exit(self) -> Sequence[nn.Module]:
        """Nothing."""
        return ()


class Streams:
    """n copies at first, in the end their sum (Zhu et al. 2024, 2409.19606, algorithm 1)."""

    def __init__(self, config: AttentionConfig):
        self.kind, self.size = config.connected().weights, config.width
        self.count = 2 if self.kind == "swap" else config.streams

    def entrance(self) -> Sequence[nn.Module]:
        """[B, T, C] -> [B, T, n, C]."""
        return (Copies(self.count),)

    def parts(self, layers: nn.Sequential, index: int) -> Parts:
        """S mixes, F reads and writes."""
        read, write, mix = weights_of(self.kind, self.count, self.size, index)
        return Parts(StreamBranch(layers, read, write), Mix(mix), stream_axis=SLOTS)

    def exit(self) -> Sequence[nn.Module]:
        """[B, T, n, C] -> [B, T, C]."""
        return (SumOfSlots(),)


class Stack:
    """A slot per block so far, and one of the embedding.

    softmax (Kimi Team 2026, Attention Residuals, 2603.15031): block l reads
    h_l = sum_i a_i v_i, a = softmax over i of w_l . RMSNorm(v_i), v_0 the embedding and v_i the
    output of branch i; w_l starts at 0. The head reads so too. In the plain twin all v but the
    last are 0, and are read with their shares as well.

    average (Pagliardini et al. 2024, DenseFormer, 2402.02622): block l has
    Y_l = X_l + F(X_l), and the next reads X_{l+1} = sum_i a_i Y_i, Y_0 the embedding; a starts
    at 0, ..., 0, 1. One slot more holds X. There it follows pairs of blocks.
    """

    def __init__(self, config: AttentionConfig):
        self.reads, self.size = config.connected().weights == "softmax", config.width

    def entrance(self) -> Sequence[nn.Module]:
        """[B, T, C] -> [B, T, 1 or 2, C]."""
        return (Copies(1 if self.reads else 2),)

    def parts(self, layers: nn.Sequential, index: int) -> Parts:
        """S keeps the slots, F fills one."""
        if self.reads:
            return Parts(Appending(layers, AttendDepth(self.size)), OneMoreSlot())
        return Parts(OnLast(layers), after=AverageDepth(index + 2))

    def exit(self) -> Sequence[nn.Module]:
        """[B, T, l, C] -> [B, T, C]."""
        return (AttendDepth(self.size),) if self.reads else (LastSlot(),)


class Values:
    """x and the first attention's values (Zhou et al. 2024, ResFormer, 2410.17897).

    Attention l has the values (V_l + V_1) / 2: its weights are both 1/2, as we read the variant
    without learned ones. Both twins pass V_1 on, in their branches.
    """

    def entrance(self) -> Sequence[nn.Module]:
        """[B, T, C] -> [B, T, 2, C]; no block reads slot 1 before the first has filled it."""
        return (Copies(2),)

    def parts(self, layers: nn.Sequential, index: int) -> Parts:
        """S keeps slot 0; F fills both."""
        return Parts(WithValues(layers, is_first=index == 0), FirstSlotOnly(), stream_axis=SLOTS)

    def exit(self) -> Sequence[nn.Module]:
        """[B, T, 2, C] -> [B, T, C]."""
        return (FirstSlot(),)
