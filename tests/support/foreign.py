"""Random residual blocks as other people write them, each with an oracle of its own.

A block takes x apart by `self.split(x)` at the place from which its shortcut and its branch
leave: (x, x) usually, two views of x with retained gradients for the oracle. What those receive
are the skip part and the branch part by definition.
"""

import random
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

WIDTH = 6

ACTIVATIONS = (F.relu, F.gelu, torch.tanh, F.silu, F.softplus)
JOINS = (
    "plus", "reversed", "inplace", "method", "alpha", "sum", "addcmul", "lerp", "sub", "minus",
    "halved", "stack", "cat",
)  # fmt: skip
CARRIES = ("identity", "scaled", "learned", "dropout", "norm", "projection", "pool", "padded")
BRANCHES = ("mlp", "norm_mlp", "attention", "two", "gated", "nested", "frozen", "swiglu", "shared")
ENDS = ("none", "relu", "relu_", "norm", "dropout")


class Mlp(nn.Module):
    def __init__(self, act: Any) -> None:
        super().__init__()
        self.one, self.two, self.act = nn.Linear(WIDTH, 9), nn.Linear(9, WIDTH), act

    def forward(self, value: Tensor) -> Tensor:
        return self.two(self.act(self.one(value)))


class Foreign(nn.Module):
    """y = end(join(carry(x), scale * branch(x))), each drawn at random; or a gated sum."""

    def __init__(self, draw: random.Random, *, depth: int = 0):
        super().__init__()
        self.act = draw.choice(ACTIVATIONS)
        self.kind = draw.choice([b for b in BRANCHES if depth == 0 or b != "nested"])
        self.carry = draw.choice(CARRIES)
        self.join, self.end = draw.choice(JOINS), draw.choice(ENDS)
        self.gate = draw.choice(("none",) * 5 + ("highway", "exclusive"))
        self.scale = draw.choice(("none", "rezero", "layer", "constant", "functional dropout"))
        self.before = draw.choice(("none", "none", "shared"))
        self.keyword, self.checkpointed = draw.random() < 0.3, draw.random() < 0.15
        self.split = lambda value: (value, value)
        self.norm, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mlp, self.other = Mlp(self.act), Mlp(F.relu)
        self.inner = Foreign(draw, depth=depth + 1) if self.kind == "nested" else None
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.project, self.gating = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.factor = nn.Parameter(torch.tensor(0.3))
        self.factors = nn.Parameter(torch.full((WIDTH,), 0.7))
        if self.kind == "frozen":
            self.mlp.requires_grad_(False)

    def describe(self) -> str:
        path = f"{self.before} {self.kind} {self.carry} {self.gate}"
        return f"{path} {self.scale} {self.join} {self.end}"

    def branch(self, value: Tensor) -> Tensor:
        match self.kind:
            case "norm_mlp":
                return self.mlp(self.norm(value))
            case "attention":
                value = self.norm(value)
                return self.attention(value, value, value, need_weights=False)[0]
            case "two":
                return self.mlp(value) + self.act(self.project(value))
            case "gated":
                return torch.sigmoid(self.gating(value)) * self.mlp(value)
            case "nested":
                assert self.inner is not None
                return self.inner(self.act(self.project(value)))
            case "swiglu":
                return self.other.two(F.silu(self.mlp.one(value)) * self.other.one(value))
            case "shared":
                return self.mlp(self.act(self.mlp(value)))
        return self.mlp(value=value) if self.keyword else self.mlp(value)

    def carried(self, value: Tensor) -> Tensor:
        match self.carry:
            case "scaled":
                return 1.7 * value
            case "learned":
                return self.factors * value
            case "dropout":
                return F.dropout(value, 0.2)
            case "norm":
                return self.norm2(value)
            case "projection":
                return self.norm2(self.project(value))
            case "pool":
                return F.avg_pool1d(value, 3, 1, 1)
            case "padded":
                return F.pad(value[..., :-2], (0, 2))
        return value

    def forward(self, x: Tensor) -> Tensor:
        if self.before == "shared":
            x = self.act(self.norm2(x))
        s, f = self.split(x)
        again = partial(checkpoint, self.branch, use_reentrant=False)
        b = again(f) if self.checkpointed else self.branch(f)
        if self.scale == "rezero":
            b = self.factor * b
        elif self.scale == "layer":
            b = self.factors * b
        elif self.scale == "constant":
            b = b / 2.5
        elif self.scale == "functional dropout":
            b = F.dropout(b, 0.3)
        s = self.carried(s)
        if self.gate != "none":
            gate = torch.sigmoid(self.gating(f))
            s = (1 - gate) * s
            b = gate * b if self.gate == "exclusive" else b
        return self.ended(self.joined(s, b))

    def joined(self, s: Tensor, b: Tensor) -> Tensor:
        match self.join:
            case "reversed":
                return b + s
            case "inplace":
                b = b * 1
                b += s
                return b
            case "method":
                return s.add(b)
            case "alpha":
                return torch.add(s, b, alpha=2)
            case "sum":
                return sum([s, b])  # type: ignore[return-value]  # sum begins with the int 0
            case "addcmul":
                return torch.addcmul(s, self.factors, b)
            case "lerp":
                return torch.lerp(s, b, 0.4)
            case "sub":
                return s - b
            case "minus":
                return b - s
            case "halved":
                return (s + b) * 0.7
            case "stack":
                return torch.stack([s, b]).sum(0)
            case "cat":
                return torch.cat([s, b], -1).unflatten(-1, (2, WIDTH)).sum(-2)
        return s + b

    def ended(self, y: Tensor) -> Tensor:
        match self.end:
            case "relu":
                return F.relu(y)
            case "relu_":
                return F.relu_(y * 1)
            case "norm":
                return self.norm(y)
            case "dropout":
                return F.dropout(y, 0.1)
        return y


class Net(nn.Module):
    """Stem, random blocks, head; some blocks' inputs are used by an auxiliary loss, a long skip."""

    def __init__(self, seed: int, blocks: int = 4):
        super().__init__()
        draw = random.Random(seed)
        torch.manual_seed(seed)
        self.stem, self.head = nn.Linear(4, WIDTH), nn.Linear(WIDTH, 3)
        self.blocks = nn.ModuleList(Foreign(draw) for _ in range(blocks))
        self.aux = nn.Linear(WIDTH, WIDTH)
        self.uses = [draw.choice(("", "", "", "aux", "long")) for _ in range(blocks)]
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.stem(x))
        loss, kept = h.new_zeros(()), []
        for block, use in zip(self.blocks, self.uses, strict=True):
            if use == "aux":
                loss = loss + self.aux(h).square().mean()
            elif use == "long":
                kept.append(h)
            h = block(h)
        for long in kept:
            h = F.relu(self.aux(torch.cat([h, long], 0)))[: len(h)] + 0 * h
        return self.head(h).square().mean() + loss


def truth(net: Net, x: Tensor) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    """Block by block (total, skip part, branch part), by views of x on the two paths."""
    kept: dict[str, tuple[Tensor, Tensor, Tensor]] = {}

    def splitter(name: str) -> Any:
        def split(value: Tensor) -> tuple[Tensor, Tensor]:
            s, f = value.view_as(value), value.view_as(value)
            for part in (value, s, f):
                part.retain_grad()
            kept.setdefault(name, (value, s, f))  # a checkpoint calls it once more
            return s, f

        return split

    for name, module in net.named_modules():
        if isinstance(module, Foreign):
            module.split = splitter(name)
    net(x).backward()
    for module in net.modules():
        if isinstance(module, Foreign):
            module.split = lambda value: (value, value)
    found = {}
    for name, tensors in kept.items():
        total, s, f = (torch.zeros_like(t) if t.grad is None else t.grad for t in tensors)
        found[name] = total, s, f
    return found
