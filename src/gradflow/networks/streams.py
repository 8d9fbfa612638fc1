"""Several residual streams: X' = M X + w F(r X), each of n streams (hyper-connections).

X [n, C] are the streams of a token; M [n, n] mixes them, r [n] reads the branch's input, w [n]
writes its output. By `gradflow.config.transformers.Connection.weights`:

    static    learned (Zhu et al. 2024, Hyper-Connections, 2409.19606, eq. 2 to 5: M, r and w are
              A_r^T, A_m and B); at first M = 1, w = 1 and r = e_(k mod n) of block k (eq. 14).
              Left out: initial output weights times sqrt(n); all designs start from the same.
    dynamic   B + s tanh(norm(X) W) and so on, W from 0 and s from 0.01 (eq. 10 to 13)
    manifold  of x = RMSNorm(all of X): r = sigmoid(a x P + b), w = 2 sigmoid(...), M =
              Sinkhorn(exp(...)), 20 times columns and rows, so that M is doubly stochastic;
              a from 0.01 (Xie et al. 2025, mHC, 2512.24880, eq. 7 to 9, as we read it). Our
              choice, where we read none: P from 0 and b such that M is near 1, w = 1, r = 1/n.
    swap      constant: M exchanges two streams, r and w take the second (Gomez et al. 2017,
              RevNet, eq. 6: y1 = x1 + F(x2), y2 = x2 + G(y1), a block each)
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gradflow.core.errors import GradflowError
from gradflow.networks.layers import RMSNorm
from gradflow.networks.network import Network
from gradflow.networks.slots import Around

SCALE = 0.01  # of what depends on the streams, at first
SINKHORN = 20  # normalizations of columns and rows
APART = -8.0  # the logarithm of M off its diagonal at first, before the Sinkhorn iterations


class StreamBranch(Around):
    """[B, T, n, C] -> the same: w F(r X)."""

    def __init__(self, layers: nn.Sequential, read: nn.Module, write: nn.Module):
        super().__init__(layers, read=read, write=write)

    def forward(self, x: Tensor) -> Tensor:
        """What the branch writes to each stream."""
        read, write = self.get_submodule("read")(x), self.get_submodule("write")(x)
        y = self.inner(torch.einsum("...n,...nc->...c", read, x))
        written: Tensor = write[..., None] * y[..., None, :]
        return written


class Mix(nn.Module):
    """[B, T, n, C] -> the same: M X."""

    def __init__(self, weights: nn.Module):
        super().__init__()
        self.weights = weights

    def forward(self, x: Tensor) -> Tensor:
        """The mixed streams."""
        mixed: Tensor = torch.einsum("...mn,...nc->...mc", self.weights(x), x)
        return mixed


class Fixed(nn.Module):
    """Constant weights, whatever the streams are."""

    def __init__(self, values: Tensor):
        super().__init__()
        self.register_buffer("values", values, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The weights."""
        values: Tensor = self.get_buffer("values")
        return values


class Static(nn.Module):
    """Learned weights, the same for each token."""

    def __init__(self, values: Tensor):
        super().__init__()
        self.shape = values.shape
        self.values = nn.Parameter(values.flatten())

    def forward(self, x: Tensor) -> Tensor:
        """The weights."""
        return self.values.view(self.shape)


class Dynamic(Static):
    """Learned weights plus s tanh(norm(X) W): by stream [..., n], or by pairs [..., n, n]."""

    def __init__(self, values: Tensor, size: int):
        super().__init__(values)
        self.norm = nn.LayerNorm(size)
        self.projection = nn.Parameter(torch.zeros(size * math.prod(self.shape[1:])))
        self.scale = nn.Parameter(torch.tensor(SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """The weights of each token: a pair's are of the stream that is read, so M is A_r^T."""
        projection = self.projection.view(x.shape[-1], -1)
        moved = self.scale * torch.tanh(self.norm(x) @ projection)  # [..., n, 1 or n]
        moved = moved.squeeze(-1) if len(self.shape) == 1 else moved.transpose(-1, -2)
        return super().forward(x) + moved


class Manifold(nn.Module):
    """a x P + b of all streams x, bounded: to (0, 1), to (0, 2), or to a doubly stochastic M."""

    def __init__(self, start: Tensor, size: int, bound: str):
        super().__init__()
        self.shape, self.bound = start.shape, bound
        features = start.shape[0] * size
        self.norm = RMSNorm(features, 1)
        self.values = nn.Parameter(start.flatten())
        self.projection = nn.Parameter(torch.zeros(features * start.numel()))
        self.scale = nn.Parameter(torch.tensor(SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """The weights of each token."""
        whole: Tensor = self.norm(x.flatten(start_dim=-2))
        moved = whole @ self.projection.view(whole.shape[-1], -1)
        free: Tensor = (self.scale * moved + self.values).unflatten(-1, self.shape)
        match self.bound:
            case "read":
                return free.sigmoid()
            case "write":
                return 2 * free.sigmoid()
        return doubly_stochastic(free)


def doubly_stochastic(free: Tensor) -> Tensor:
    """exp of [..., n, n], its columns and rows normalized in turn (Sinkhorn and Knopp 1967)."""
    log = free
    for _ in range(SINKHORN):
        log = log - log.logsumexp(dim=-2, keepdim=True)
        log = log - log.logsumexp(dim=-1, keepdim=True)
    return log.exp()


def weights_of(
    kind: str, count: int, size: int, index: int
) -> tuple[nn.Module, nn.Module, nn.Module]:
    """What reads, writes and mixes `count` streams of `size` features in block `index`."""
    one, identity = torch.eye(count)[index % count], torch.eye(count)
    match kind:
        case "static":
            return Static(one), Static(torch.ones(count)), Static(identity)
        case "dynamic":
            made = [Dynamic(start, size) for start in (one, torch.ones(count), identity)]
            return made[0], made[1], made[2]
        case "manifold":
            even = torch.full((count,), -math.log(count - 1))  # its sigmoid is 1/n
            return (
                Manifold(even, size, "read"),
                Manifold(torch.zeros(count), size, "write"),
                Manifold(APART * (1 - identity), size, "mix"),
            )
    second = torch.tensor([0.0, 1.0])
    return Fixed(second), Fixed(second), Fixed(identity.flip(0))


@torch.no_grad()
def mixing_matrices(network: Network, x: Tensor) -> list[Tensor]:
    """M of each block in forward order, [n, n], or [B, T, n, n] if it depends on the streams.

    Raises:
        GradflowError: the network has no streams.
    """
    found = []
    x = network.stem(x)
    for block in network.blocks:
        shortcut = block.get_submodule("shortcut")
        if not isinstance(shortcut, Mix):
            raise GradflowError(f"{block.name}: mixes no streams; use connection=hyper")
        found.append(shortcut.weights(x).detach())
        x = block(x)
    return found


def gains(matrices: Sequence[Tensor]) -> tuple[float, float]:
    """How much the composite M_L ... M_1 can enlarge what it carries: forward, backward.

    Forward is its largest absolute row sum, backward its largest absolute column sum, of each
    token; then the mean over tokens (Amax gain magnitude, 2512.24880, section 3.1 as we read
    it). Both are 1 if each M is doubly stochastic.
    """
    total = matrices[0].detach().double()
    for matrix in matrices[1:]:
        total = matrix.detach().double() @ total
    sizes = total.abs()
    rows, columns = sizes.sum(dim=-1).amax(dim=-1), sizes.sum(dim=-2).amax(dim=-1)
    return float(rows.mean()), float(columns.mean())
