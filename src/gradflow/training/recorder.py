"""From tensors of the loop to rows: one copy to the host per flush, no `.item()` per step."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from gradflow.probes import Probes
from gradflow.records import RecordWriter
from gradflow.training.evaluation import Evaluation

FLUSH_SECONDS = 10.0  # between part files


class Recorder:
    """Collects what the loop measures and hands it to the writer as rows.

    Attributes:
        diverged_at: the first step whose loss was not finite, known after a flush. Rows
            of later steps are dropped: the run ends there.
        last_loss: the mini-batch loss of the last step flushed.
        seconds: spent on recording, the probes' hooks and reductions included.
    """

    def __init__(self, writer: RecordWriter, probes: Probes):
        self.writer = writer
        self.probes = probes
        self.diverged_at: int | None = None
        self.last_loss = float("nan")
        self._seconds = 0.0
        self._steps: list[tuple[int, int, float]] = []
        self._step_values: list[Tensor] = []
        self._examples: dict[int, Tensor] = {}
        self._written = time.monotonic()

    @property
    def seconds(self) -> float:
        """Spent on recording so far, the probes' hooks and reductions included."""
        return self._seconds + self.probes.seconds

    def step(self, step: int, epoch: int, rate: float, values: Tensor) -> None:
        """`values`: the loss, the error, the gradient's norm before and after clipping."""
        self._steps.append((step, epoch, rate))
        self._step_values.append(values)

    @contextmanager
    def account(self) -> Iterator[None]:
        """What is done inside is recording, and its time is counted as such."""
        start = time.perf_counter()
        yield
        self._seconds += time.perf_counter() - start

    def examples(self, step: int, agreement: Tensor) -> None:
        """What `probes.between_examples` found at a step with details."""
        self._examples[step] = agreement

    def evaluation(self, step: int, split: str, found: Evaluation) -> None:
        """One evaluation of a split's images."""
        columns = {name: [value] for name, value in found._asdict().items()}
        self.writer.add("evaluations", step=[step], split=[split], **columns)

    def flush(self) -> None:
        """Copy what was collected to the host, find a divergence, pass the rows on."""
        if not self._steps or self.diverged_at is not None:
            return
        if self._step_values[-1].is_cuda:  # to wait for the training is not to record
            torch.cuda.current_stream().synchronize()
        start = time.perf_counter()
        values = torch.stack(self._step_values).cpu()
        finite = torch.isfinite(values[:, 0])
        kept = len(values)
        if not finite.all():
            kept = int((~finite).int().argmax()) + 1
            self.diverged_at = self._steps[kept - 1][0]
        steps, epochs, rates = zip(*self._steps[:kept], strict=True)
        loss, error, grad_norm, clipped = values[:kept].unbind(dim=1)
        self.last_loss = float(loss[-1])
        self.writer.add(
            "steps",
            step=list(steps),
            epoch=list(epochs),
            loss=loss.numpy(),
            error=error.numpy(),
            learning_rate=list(rates),
            grad_norm=grad_norm.numpy(),
            clipped_grad_norm=clipped.numpy(),
        )
        measured = self.probes.seconds
        self._add_tables(steps[-1])
        measured = self.probes.seconds - measured
        self._steps, self._step_values = [], []
        if time.monotonic() - self._written > FLUSH_SECONDS:
            self.writer.flush()
            self._written = time.monotonic()
        self._seconds += time.perf_counter() - start - measured

    def _add_tables(self, last_step: int) -> None:
        for name, rows in self.probes.tables().items():
            rows = rows.filter(pc.field("step") <= last_step)
            if name == "network_details":
                rows = self._with_examples(rows)
            if rows.num_rows:
                self.writer.add(name, **dict(zip(rows.column_names, rows.columns, strict=True)))

    def _with_examples(self, rows: pa.Table) -> pa.Table:
        found = [self._examples.pop(step).tolist() for step in rows["step"].to_pylist()]
        for column, name in enumerate(("example_cosine", "signal_to_noise")):
            values = pa.array([pair[column] for pair in found], pa.float64())
            rows = rows.append_column(name, values)
        return rows
