"""What measuring costs: training steps without probes, with them, and with naive ones.

One thread. The kinds of step take turns in one process, in changing order, so that a busy
machine slows all alike; ratios are taken round by round. A step with probes records

    layers    gradient, weight and update norms of every layer
    all       these, the RMS of every block's input and branch, and the ledger
    naive     the same as all but the ledger's split, as it is often written: .norm().item()
              per layer, full backward hooks on blocks

and every 25 steps what was recorded goes to the host. Beside them what others offer, all of it
about parameters alone (benchmarks/others.py).
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.cases import CASES, Case
from benchmarks.others import Other, others
from benchmarks.turns import ratio
from gradflow import build_network
from gradflow.analysis.tables import Cell, Table
from gradflow.probes import Probes
from gradflow.training.torch_settings import keep_freed_memory

FLUSH_STEPS = 25
LIMITS = {
    "cifar-56": {"layers": 1.01, "all": 1.05},
    "digits-110": {"layers": 1.02, "all": 1.10},
}


class Steps:
    """Training steps of one network, each measured as its kind says."""

    def __init__(self, case: Case, more: Mapping[str, Other] | None = None):
        network = build_network(
            "cifar_resnet", image_shape=case.image, depth=case.depth, width=case.width
        )
        self.network = network.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, fused=True)
        self.probes = {
            "layers": Probes(network, blocks=None),
            "all": Probes(network),
        }
        self.measured = dict.fromkeys(self.probes, 0)
        self.others: dict[str, Other] = {"naive": Naive(), **(more or {})}
        self.count = 0
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(case.batch, *case.image, generator=generator)
        self.images = images.contiguous(memory_format=torch.channels_last)
        self.labels = torch.randint(10, (case.batch,), generator=generator)

    def timed(self, kind: str) -> float:
        """Seconds of one step; naive hooks are put in place before it and removed after. Probes
        stay open, as in a training: they leave nothing in a step that is not armed."""
        self.count += 1
        other = self.others.get(kind)
        with other.on(self.network) if other is not None else nullcontext():
            start = time.perf_counter()
            self._step(kind)
            return time.perf_counter() - start

    def _step(self, kind: str) -> None:
        probes, other = self.probes.get(kind), self.others.get(kind)
        if probes is not None:
            probes.arm(self.count)
        F.cross_entropy(self.network(self.images), self.labels).backward()
        if other is not None:
            other.gradients(self.network)
        self.optimizer.step()
        if probes is not None:
            probes.finish()
        if other is not None:
            other.updates()
        self.optimizer.zero_grad()
        if probes is not None:
            self.measured[kind] += 1
            if self.measured[kind] % FLUSH_STEPS == 0:
                probes.tables()


class Naive(Other):
    """What a loop without gradflow would do to know nearly the same."""

    def __init__(self) -> None:
        self.weights: list[Tensor] = []
        self.rows: list[float] = []
        self.before: list[Tensor] = []

    @contextmanager
    def on(self, network: nn.Module) -> Iterator[None]:
        """Hooks on all blocks."""
        self.weights = [p for p in network.parameters() if p.ndim > 1]
        handles: list[Any] = []
        for block in network.get_submodule("blocks").children():
            branch = block.get_submodule("branch")
            handles.append(branch.register_forward_hook(self._forward))
            handles.append(block.register_full_backward_hook(self._backward))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def gradients(self, network: nn.Module) -> None:
        """After the backward pass: every weight's norm and its gradient's."""
        self.before = [weight.detach().clone() for weight in self.weights]
        for weight in self.weights:
            assert weight.grad is not None
            self.rows += [weight.grad.norm().item(), weight.norm().item()]

    def updates(self) -> None:
        """After the optimizer's step: the norm of every weight's change."""
        for before, weight in zip(self.before, self.weights, strict=True):
            self.rows.append((weight - before).norm().item())

    def _forward(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        for x in (inputs[0], output):
            self.rows.append(x.square().mean().sqrt().item())

    def _backward(self, module: nn.Module, inputs: Any, outputs: Any) -> None:
        for gradient in (inputs[0], outputs[0]):
            self.rows.append(gradient.norm().item())


def timed(steps: Steps, kinds: list[str], seconds: float) -> np.ndarray:
    """Seconds per step, [rounds, kinds]; as many rounds as fit, in changing order."""
    for kind in kinds * 2:  # warm-up
        steps.timed(kind)
    order = np.random.default_rng(0)
    rounds: list[np.ndarray] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(rounds) < 10:
        row = np.empty(len(kinds))
        for index in order.permutation(len(kinds)):
            row[index] = steps.timed(kinds[index])
        rounds.append(row)
    return np.array(rounds)


def measure(seconds: float) -> Iterator[tuple[str, Table]]:
    """One row per case and kind of step: its time over that of a step without probes."""
    torch.set_num_threads(1)
    keep_freed_memory()
    rows: list[dict[str, Cell]] = []
    more, missing = others()
    for name, limits in LIMITS.items():
        kinds = ["without", "layers", "all", "naive", *more]
        found = timed(Steps(CASES[name], more), kinds, seconds)
        for column, kind in enumerate(kinds[1:], start=1):
            rows.append(
                {
                    "network": name,
                    "step without, ms": 1e3 * float(np.median(found[:, 0])),
                    "with": kind,
                    "ratio, median (95 % interval)": ratio(found[:, column], found[:, 0]),
                    "wanted": limits.get(kind),
                }
            )
    formats = {"ratio, median (95 % interval)": ".3f", "wanted": ".2f"}
    for other in more.values():
        other.close()
    lines = [f"One thread; {seconds:.0f} s of rounds each.", *missing]
    yield "probes", Table(rows, formats, note="\n".join(lines))
