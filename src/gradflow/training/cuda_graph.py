"""The training step as a CUDA graph: captured once, then one launch a step.

A small network's kernels take microseconds, and the host needs longer to launch them. A
graph holds a step's kernels, those of the probes among them, and reads and writes the same
memory each time: the batch and the learning rate are copied in, what was measured is copied
out. The kernels are those of the eager step, so the numbers are equal, bit for bit.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Protocol

import torch
from torch import Generator, Tensor

from gradflow.probes import Measurement
from gradflow.training.step import EagerStep

EAGER_STEPS = 3  # before a capture: state and workspaces must have their places in memory

Outputs = tuple[Tensor, Measurement | None]
"""A step's values, and what its probes measured if they were armed."""


class Graph(Protocol):
    """What `torch.cuda.CUDAGraph` offers and is used here."""

    def replay(self) -> None:
        """Do the captured work again, on the current stream."""
        ...


Capture = Callable[[Callable[[], Outputs]], tuple[Graph, Outputs]]
"""Records some work without doing it: what replays it, and where its outputs will be."""


def capture(work: Callable[[], Outputs]) -> tuple[Graph, Outputs]:
    """`Capture` on the current stream, which must not be the default one."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        outputs = work()
    return graph, outputs


def side_stream() -> AbstractContextManager[object]:
    """Inside, work goes to a CUDA stream of its own; what was queued before comes first."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    return torch.cuda.stream(stream)


class GraphedStep:
    """A step that is replayed from the fourth on; see `gradflow.training.step.Step`.

    There is one graph for steps that are measured and one for those that are not. Steps
    with details are eager: they are few, and compute other things.

    Args:
        capture: replaced in tests, where there is no CUDA device.
    """

    def __init__(self, step: EagerStep, capture: Capture = capture):
        self._step = step
        self._probes = step.recorder.probes
        self._capture = capture
        self._taken = 0
        self._batch: tuple[Tensor, Tensor] | None = None
        self._graphs: dict[bool, tuple[Graph, Outputs]] = {}

    def __call__(self, images: Tensor, labels: Tensor, generator: Generator) -> Tensor:
        """`Step`: an eager one, a capture and its first replay, or a replay."""
        self._taken += 1
        armed = self._probes.armed
        if self._taken <= EAGER_STEPS or (armed is not None and armed.details):
            return self._step(images, labels, generator)
        if self._batch is None:
            self._batch = images.clone(), labels.clone()
        for place, values in zip(self._batch, (images, labels), strict=True):
            place.copy_(values)
        measured = armed is not None
        if measured not in self._graphs:
            with _capturable(self._step.optimizer):
                self._graphs[measured] = self._capture(partial(self._work, generator))
        graph, (values, measurement) = self._graphs[measured]
        self._probes.disarm()
        graph.replay()
        if armed is not None and measurement is not None:
            self._probes.add(measurement.copied(armed.step))
        return values.clone()

    def _work(self, generator: Generator) -> Outputs:
        assert self._batch is not None
        measured = self._probes.armed is not None
        values = self._step(*self._batch, generator)
        return values, self._probes.take() if measured else None


@contextmanager
def _capturable(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Adam requires `capturable` during a capture, and warns about it outside of one."""
    groups = [group for group in optimizer.param_groups if "capturable" in group]
    for group in groups:
        group["capturable"] = True
    try:
        yield
    finally:
        for group in groups:
            group["capturable"] = False
