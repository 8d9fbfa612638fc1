"""Where a step's time goes, and how near its arithmetic is to the machine's limit.

One thread, one process. What a hook of the probes takes inside of the forward or the backward
pass is counted as the probes'. Floating-point operations of a step: two per multiply-accumulate
of its weighted layers, forward, and twice that backward. The peak is what a 2048 x 2048 matrix
product reaches in the same dtype between steps.
"""

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.cases import CASES
from benchmarks.our_loop import config_of, dataset_of
from gradflow.analysis.tables import Cell, Table
from gradflow.core.progress import Progress
from gradflow.networks import count_macs, make_network
from gradflow.records import RecordWriter
from gradflow.training import between_steps, loop
from gradflow.training.recorder import Recorder
from gradflow.training.torch_settings import prepare_torch

NAMES = ("data", "forward", "backward", "optimizer", "probes", "evaluation", "writing")
SIDE = 2048


class Phases:
    """Seconds by phase; of a function inside of another, only the inner one's."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.recorder: Recorder | None = None

    def inside(self) -> float:
        """Seconds counted so far, those of the probes' hooks included."""
        probes = 0.0 if self.recorder is None else self.recorder.probes.seconds
        return sum(self.seconds.values()) + probes

    def timed(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its seconds counted as those of `phase`."""

        def wrapper(*args: Any, **options: Any) -> Any:
            start, before = time.perf_counter(), self.inside()
            try:
                return function(*args, **options)
            finally:
                took = time.perf_counter() - start
                self.seconds[phase] += took - (self.inside() - before)

        return wrapper


def instrument(stack: ExitStack, phases: Phases) -> None:
    """Have the training loop's parts report to `phases`."""

    def replace(target: Any, name: str, make: Callable[[Any], Any]) -> None:
        stack.enter_context(patch.object(target, name, make(getattr(target, name))))

    def batches(original: Any) -> Any:
        def timed(*args: Any, **options: Any) -> Iterator[Any]:
            following = phases.timed("data", lambda it: next(it, None))
            iterator = original(*args, **options)
            while (batch := following(iterator)) is not None:
                yield batch

        return timed

    def optimizer(original: Any) -> Any:
        def build(*args: Any) -> Any:
            made = original(*args)
            made.step = phases.timed("optimizer", made.step)
            made.zero_grad = phases.timed("optimizer", made.zero_grad)
            return made

        return build

    class Watched(Recorder):
        def __init__(self, *args: Any):
            super().__init__(*args)
            phases.recorder = self

    replace(loop, "training_batches", batches)
    replace(loop, "in_precision", lambda make: lambda *a: phases.timed("forward", make(*a)))
    replace(loop, "build_optimizer", optimizer)
    replace(between_steps, "evaluate_splits", lambda f: phases.timed("evaluation", f))
    replace(torch.Tensor, "backward", lambda f: phases.timed("backward", f))
    replace(Recorder, "flush", lambda f: phases.timed("writing", f))
    replace(RecordWriter, "flush", lambda f: phases.timed("writing", f))
    stack.enter_context(patch.object(loop, "Recorder", Watched))


class _Enough(Exception):  # noqa: N818  # not an error
    """So many turns were taken."""


def measure(turns: int) -> Iterator[tuple[str, Table]]:
    """One row per case: the share of each phase in a step, and the arithmetic's speed."""
    rows = [_row(name, turns) for name in ("cifar-20", "cifar-56", "digits-56")]
    formats = {"GFLOP/s": ".0f", "peak": ".0f", "of peak, %": ".0f", "step, ms": ".0f"}
    note = "float32, one thread, probes at every fifth step; evaluation is of two images per turn."
    yield "phases", Table(rows, formats, note=note)


def _row(name: str, turns: int) -> dict[str, Cell]:
    case, config = CASES[name], config_of(CASES[name])
    prepare_torch(config)
    network = make_network(config.network, case.image, 10, config.seed)
    operations = 6 * count_macs(network, case.image) * case.batch
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    phases = Phases()
    taken, began, peak, before = 0, 0.0, 0.0, 0.0

    def look(progress: Progress) -> None:
        nonlocal taken, began, peak, before
        if progress.step % case.turn:
            return
        start = time.perf_counter()
        peak = max(peak, _matrix_product())
        if taken == 1:  # the first turn warms up
            phases.seconds.clear()
            began, before = time.perf_counter(), phases.inside()
        else:
            began += time.perf_counter() - start
        taken += 1
        if taken == turns + 2:
            raise _Enough

    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        instrument(stack, phases)
        dataset = dataset_of(case, Path(folder))
        with RecordWriter(Path(folder) / "run", "run") as writer:
            try:
                loop.train(config, network, dataset, writer, look, "benchmark")
            except _Enough:
                total = time.perf_counter() - began
    phases.seconds["probes"] += phases.inside() - sum(phases.seconds.values()) - before
    step = total / (turns * case.turn)
    row: dict[str, Cell] = {"network": name, "step, ms": 1e3 * step}
    row |= {f"{phase}, %": 100 * phases.seconds[phase] / total for phase in NAMES}
    row["other, %"] = 100 - 100 * sum(phases.seconds.values()) / total
    row |= {"GFLOP/s": operations / step / 1e9, "peak": peak / 1e9}
    row["of peak, %"] = 100 * operations / step / peak
    return row


def _matrix_product() -> float:
    """Floating-point operations per second."""
    a = torch.ones(SIDE, SIDE)
    start = time.perf_counter()
    a @ a
    return 2 * SIDE**3 / (time.perf_counter() - start)
