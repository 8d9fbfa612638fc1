"""What measuring costs: training steps without probes, with them, and with naive ones.

One thread. The kinds of step take turns in one process, in changing order, so that a busy
machine slows all alike; ratios are taken round by round. A step with probes records

    layers    gradient, weight and update norms of every layer
    all       these, the RMS of every block's input and branch, and the ledger
    naive     the same as all but the ledger's split, as it is often written: .norm().item()
              per layer, full backward hooks on blocks

and every 25 steps what was recorded goes to the host. Beside them what others offer, all of it
about parameters alone (benchmarks/others.py).

A training is measured every few steps. Turns of ten steps, of which one is measured, compare
`gradflow.watch(every=10)`, its records and alerts included, with the others at every tenth step.
"""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
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
from gradflow.watching import watch

FLUSH_STEPS = 25
TEN = 10  # steps of a turn of which one is measured
WATCHED = f"gradflow.watch(every={TEN})"
IN_TENS = "digits-110"  # the network of which turns of ten steps are timed
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
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
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

    def timed_ten(self, kind: str, watched: "Watched") -> float:
        """Seconds per step of ten, the last of which is measured as its kind says."""
        if kind == WATCHED:
            return watched.timed(self) / TEN
        plain = sum(self.timed("without") for _ in range(TEN - 1))
        return (plain + self.timed(kind)) / TEN

    def plain(self) -> Tensor:
        """A step without probes; its loss."""
        loss = F.cross_entropy(self.network(self.images), self.labels)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss

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


class Watched:
    """A watch of ten steps at a time: between turns, when others take theirs, it is not armed."""

    def __init__(self, steps: Steps):
        self.folder = tempfile.TemporaryDirectory()
        self.watch = watch(steps.network, Path(self.folder.name) / "run", every=TEN).start()
        self.watch.step(steps.plain())  # step 0 is measured; from here the tenth of each turn

    def timed(self, steps: Steps) -> float:
        """Seconds of a turn."""
        start = time.perf_counter()
        for _ in range(TEN):
            self.watch.step(steps.plain())
        return time.perf_counter() - start

    def close(self) -> None:
        """End it and delete its files."""
        self.watch.close()
        self.folder.cleanup()


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


def timed(step: Callable[[str], float], kinds: list[str], seconds: float) -> np.ndarray:
    """Seconds per step, [rounds, kinds]; as many rounds as fit, in changing order."""
    for kind in kinds * 2:  # warm-up
        step(kind)
    order = np.random.default_rng(0)
    rounds: list[np.ndarray] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(rounds) < 10:
        row = np.empty(len(kinds))
        for index in order.permutation(len(kinds)):
            row[index] = step(kinds[index])
        rounds.append(row)
    return np.array(rounds)


def timed_in_tens(
    steps: Steps, more: Mapping[str, Other], seconds: float
) -> tuple[list[str], np.ndarray]:
    """Kinds of which one step in ten is measured, and seconds per step, [rounds, kinds]."""
    watched = Watched(steps)
    kinds = ["without", WATCHED, *more]
    try:
        return kinds, timed(lambda kind: steps.timed_ten(kind, watched), kinds, seconds)
    finally:
        watched.close()


def measure(seconds: float) -> Iterator[tuple[str, Table]]:
    """One row per case and kind of step: its time over that of a step without probes."""
    torch.set_num_threads(1)
    keep_freed_memory()
    rows: list[dict[str, Cell]] = []
    more, missing = others()
    for name, limits in LIMITS.items():
        steps = Steps(CASES[name], more)
        kinds = ["without", "layers", "all", "naive", *more]
        rows += rows_of(name, kinds, timed(steps.timed, kinds, seconds), limits)
        if name == IN_TENS:
            tens, found = timed_in_tens(steps, more, seconds)
            rows += rows_of(f"{name}, every tenth step", tens, found, {WATCHED: 1.03})
    formats = {"ratio, median (95 % interval)": ".3f", "wanted": ".2f"}
    for other in more.values():
        other.close()
    lines = [f"One thread; {seconds:.0f} s of rounds each.", *missing]
    yield "probes", Table(rows, formats, note="\n".join(lines))


def rows_of(
    name: str, kinds: list[str], found: np.ndarray, limits: Mapping[str, float]
) -> list[dict[str, Cell]]:
    """A row per kind beside the first one, which is a step without."""
    return [
        {
            "network": name,
            "step without, ms": 1e3 * float(np.median(found[:, 0])),
            "with": kind,
            "ratio, median (95 % interval)": ratio(found[:, column], found[:, 0]),
            "wanted": limits.get(kind),
        }
        for column, kind in enumerate(kinds[1:], start=1)
    ]
