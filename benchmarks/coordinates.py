"""How often a coordinate check is wrong: networks whose exponents are known, checked many times.

    python -m benchmarks --sections coordinates
    gradflow coordinates benchmarks.coordinates:mlp --widths 64,128,256,512 --out checks

Of a linear network of one hidden layer under SGD the exponents follow from one line each, see
`Linear`. One at the edge of the tolerance is the hardest: it may count as inside, so that each
failure is false, or as outside, so that each pass is. The others are networks as people build
them, with the learning rates of the maximal-update parametrization or without.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import digamma
from scipy.stats import binomtest
from torch import Tensor, nn

from gradflow.analysis.tables import Cell, Table
from gradflow.core.seeds import derive_seed
from gradflow.statistics import log_slopes
from gradflow.watching.coordinate_verdict import FAILS, PASSES, TOLERANCE, CoordinateCheck
from gradflow.watching.coordinates import coordinate_check

WIDTHS = (32, 64, 128, 256)
DEPTHS = (4, 8, 16, 32)
STEPS, SEEDS = 3, 5
FEATURES, CLASSES, OUTPUTS = 16, 4, 16
RATE = 0.002  # so small that the step's square does not count
Make = Callable[[int], Any]


class Linear(nn.Module):
    """f_k = v_k U x of one x of norm 1, loss sum_k f_k: U ~ N(0, 1), v ~ N(0, width^-2 spread).

    A step of SGD changes h = U x by -rate_U sum_j v_j, and f_k by -rate_v |h|^2 - rate_U v_k sum_j
    v_j and a term of order rate_U rate_v. |h|^2 is a sum of `width` squares of normal numbers.
    """

    def __init__(self, width: int, spread: float):
        super().__init__()
        self.hidden = nn.Linear(FEATURES, width, bias=False)
        self.out = nn.Linear(width, OUTPUTS, bias=False)
        nn.init.normal_(self.hidden.weight)
        nn.init.normal_(self.out.weight, std=width**-spread)

    def forward(self, x: Tensor) -> Tensor:
        """OUTPUTS numbers."""
        out: Tensor = self.out(self.hidden(x))
        return out


def linear(shift: float) -> Make:
    """In the maximal-update parametrization, but that all changes grow as width^shift."""
    return lambda width: _linear(width, 1.0, 1 + shift, -1 + shift)


def standard_linear(width: int) -> Any:
    """Standard parametrization: the output's change grows as width, the hidden shrinks."""
    return _linear(width, 0.5, 0.0, 0.0)


def _linear(width: int, spread: float, hidden: float, out: float) -> Any:
    model = Linear(width, spread)
    groups = [
        {"params": model.hidden.parameters(), "lr": RATE * width**hidden},
        {"params": model.out.parameters(), "lr": RATE * width**out},
    ]
    x = torch.eye(FEATURES)[:1]
    return model, (x, x), lambda outputs, _: outputs.sum(), torch.optim.SGD(groups)


def exponent(power: float, widths: tuple[int, ...] = WIDTHS) -> float:
    """The expected slope of log(width^power sqrt(mean of `width` squared normal numbers)).

    The logarithm of a chi-squared variable of n degrees has the mean log 2 + digamma(n / 2).
    """
    n = np.array(widths, dtype=float)
    logs = power * np.log(n) + (np.log(2) + digamma(n / 2) - np.log(n)) / 2
    return float(log_slopes(np.exp(logs), n))


def edge() -> float:
    """The shift at which the hidden change's expected exponent is the tolerance."""
    return TOLERANCE - exponent(0.0)


def data() -> tuple[Tensor, Tensor]:
    """A batch whose labels a linear map decides."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(32, FEATURES, generator=generator)
    return x, (x @ torch.randn(FEATURES, CLASSES, generator=generator)).argmax(1)


def mlp(width: int, *, mup: bool = False) -> Any:
    """Three hidden ReLU layers under Adam, in the maximal-update parametrization or not."""
    shapes = [(FEATURES, width), (width, width), (width, width), (width, CLASSES)]
    layers = [nn.Linear(*shape, bias=False) for shape in shapes]
    model = nn.Sequential(*(m for layer in layers for m in (layer, nn.ReLU())))[:-1]
    for layer in layers:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if mup:
        nn.init.normal_(layers[-1].weight, std=1 / width)
    narrower = WIDTHS[0] / width if mup else 1.0
    groups = [
        {"params": layer.weight, "lr": 0.01 * (narrower if i else 1.0)}
        for i, layer in enumerate(layers)
    ]
    return model, data(), F.cross_entropy, torch.optim.Adam(groups)


mup_mlp = partial(mlp, mup=True)


class Block(nn.Module):
    """x + c W ReLU(x)."""

    def __init__(self, scale: float):
        super().__init__()
        self.linear, self.scale = nn.Linear(32, 32, bias=False), scale

    def forward(self, x: Tensor) -> Tensor:
        """The stream."""
        branch: Tensor = self.linear(F.relu(x))
        return x + self.scale * branch


class Deep(nn.Module):
    """A stem, blocks, a head."""

    def __init__(self, depth: int, scale: float):
        super().__init__()
        self.stem = nn.Linear(FEATURES, 32)
        self.blocks = nn.Sequential(*(Block(scale) for _ in range(depth)))
        self.head = nn.Linear(32, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        out: Tensor = self.head(self.blocks(self.stem(x)))
        return out


def standard_deep(depth: int) -> Any:
    """Residual blocks under Adam, as they are."""
    return _deep(depth, 1.0)


def scaled_deep(depth: int) -> Any:
    """Branches, and the learning rate of their weights, by depth^-1/2."""
    return _deep(depth, (DEPTHS[0] / depth) ** 0.5)


def _deep(depth: int, scale: float) -> Any:
    model = Deep(depth, scale)
    rest = [*model.stem.parameters(), *model.head.parameters()]
    groups: list[dict[str, Any]] = [{"params": rest}]
    groups.append({"params": model.blocks.parameters(), "lr": 1e-3 * scale})
    return model, data(), F.cross_entropy, torch.optim.Adam(groups, lr=1e-3)


@dataclass(frozen=True)
class Case:
    """A kind of network, and what is right to say of it."""

    name: str
    make: Make
    right: str
    axis: str = "widths"


CASES = (
    Case("linear, SGD: exponents of 0", linear(0.0), PASSES),
    Case("linear, SGD: changes at the edge of 0.25", linear(edge()), "either"),
    Case("linear, SGD: changes of 1/2", linear(0.5), FAILS),
    Case("linear, SGD, standard: changes of -1/2 and 1", standard_linear, FAILS),
    Case("ReLU, Adam, muP", mup_mlp, PASSES),
    Case("ReLU, Adam, one rate", mlp, FAILS),
    Case("residual, Adam, by depth^-1/2", scaled_deep, PASSES, "depths"),
    Case("residual, Adam, as it is", standard_deep, FAILS, "depths"),
)


def checked(case: Case, number: int) -> CoordinateCheck:
    """One check; each number draws other networks."""

    def make(size: int) -> Any:
        torch.manual_seed(derive_seed(torch.initial_seed(), case.name, number))
        return case.make(size)

    sizes: dict[str, Any] = {case.axis: WIDTHS if case.axis == "widths" else DEPTHS}
    return coordinate_check(make, **sizes, steps=STEPS, seeds=SEEDS)


def measure(checks: int = 200) -> Iterator[tuple[str, Table]]:
    """Of each kind of network, how many checks end how."""
    rows: list[dict[str, Cell]] = []
    for case in CASES:
        outcomes = [checked(case, number).outcome for number in range(checks)]
        row: dict[str, Cell] = {"network": case.name, "right": case.right, "checks": checks}
        for outcome in (PASSES, FAILS):
            count = outcomes.count(outcome)
            low, high = binomtest(count, checks).proportion_ci()  # Clopper and Pearson
            share = f"{100 * count / checks:.1f} ({100 * low:.1f} ... {100 * high:.1f})"
            row[f"{outcome}, % (95 % interval)"] = share
        rows.append(row)
    widths, depths = (", ".join(map(str, sizes)) for sizes in (WIDTHS, DEPTHS))
    note = f"Widths {widths}; depths {depths}; {STEPS} steps, {SEEDS} seeds; wanted 0 within 0.25."
    yield "coordinate_checks", Table(rows, note=note)
