"""From tensors of the training loop to rows: one copy to the host a flush, no `.item()` a step."""

import torch
from torch import Tensor

from gradflow.probes import Gradients
from gradflow.probes.gradients import Layer
from gradflow.records import RecordWriter


class Recorder:
    """Collects what the loop measures and hands it to the writer as rows.

    Attributes:
        diverged_at: the first step whose loss was not finite, known after a flush. Rows
            of later steps are dropped: the run ends there.
        last_loss: the mini-batch loss of the last step flushed.
    """

    def __init__(self, writer: RecordWriter, layers: list[Layer]):
        self.writer = writer
        self.layers = layers
        self.diverged_at: int | None = None
        self.last_loss = float("nan")
        self._steps: list[tuple[int, int, float]] = []
        self._step_values: list[Tensor] = []
        self._measured_steps: list[int] = []
        self._gradients: list[Gradients] = []

    def step(
        self, step: int, epoch: int, rate: float, loss: Tensor, error: Tensor, grad_norm: Tensor
    ) -> None:
        self._steps.append((step, epoch, rate))
        self._step_values.append(torch.stack([loss.detach(), error.to(loss.dtype), grad_norm]))

    def gradients(self, step: int, gradients: Gradients) -> None:
        self._measured_steps.append(step)
        self._gradients.append(gradients)

    def evaluation(self, step: int, split: str, loss: float, error: float) -> None:
        self.writer.add("evaluations", step=[step], split=[split], loss=[loss], error=[error])

    def flush(self) -> None:
        """Copy what was collected to the host, find a divergence, pass the rows on."""
        if not self._steps or self.diverged_at is not None:
            return
        values = torch.stack(self._step_values).cpu()
        finite = torch.isfinite(values[:, 0])
        kept = len(values)
        if not finite.all():
            kept = int((~finite).int().argmax()) + 1
            self.diverged_at = self._steps[kept - 1][0]
        steps, epochs, rates = zip(*self._steps[:kept], strict=True)
        loss, error, grad_norm = values[:kept].unbind(dim=1)
        self.last_loss = float(loss[-1])
        self.writer.add(
            "steps",
            step=list(steps),
            epoch=list(epochs),
            loss=loss.numpy(),
            error=error.numpy(),
            learning_rate=list(rates),
            grad_norm=grad_norm.numpy(),
        )
        self._flush_gradients(steps[-1])
        self._steps, self._step_values = [], []

    def _flush_gradients(self, last_step: int) -> None:
        measured = [step for step in self._measured_steps if step <= last_step]
        if measured:
            kept = self._gradients[: len(measured)]
            layers = torch.stack([g.layers for g in kept]).cpu()
            blocks = torch.stack([g.block_inputs for g in kept]).cpu()
            times = len(measured)
            self.writer.add(
                "layers",
                step=_repeat(measured, layers.shape[1]),
                layer_index=[layer.index for layer in self.layers] * times,
                layer_name=[layer.name for layer in self.layers] * times,
                block_index=[layer.block_index for layer in self.layers] * times,
                kind=[layer.kind for layer in self.layers] * times,
                grad_norm=layers.flatten().numpy(),
            )
            self.writer.add(
                "blocks",
                step=_repeat(measured, blocks.shape[1]),
                block_index=list(range(blocks.shape[1])) * times,
                input_grad_norm=blocks.flatten().numpy(),
            )
        self._measured_steps, self._gradients = [], []


def _repeat(values: list[int], times: int) -> list[int]:
    return [value for value in values for _ in range(times)]
