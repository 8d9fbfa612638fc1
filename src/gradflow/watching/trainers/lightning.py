"""A callback for Lightning: `Trainer(callbacks=[WatchCallback("runs/first")])`."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback

from gradflow.watching import Watch, watch


class WatchCallback(Callback):  # type: ignore[misc]  # Lightning is not there where types are checked
    """Watches `Trainer.fit`; a step is an optimizer's step, whatever is accumulated.

    The loss is that of the last part of an accumulated batch.

    Args:
        folder: as `gradflow.watch`.
        options: every, details, settings, on_alert and sinks of `gradflow.watch`. The scaler is
            the trainer's.

    Attributes:
        watch: once the training has begun.

    Raises:
        GradflowError: when the training begins, as `gradflow.watch`.
    """

    def __init__(self, folder: str | Path, **options: Any):
        self.watch: Watch | None = None
        self._folder, self._options = folder, options
        self._steps = 0

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin; the weights are where they stay."""
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        self.watch = watch(pl_module, self._folder, scaler=scaler, **self._options).start()
        self._steps = trainer.global_step

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """A step, if the optimizer made one."""
        if self.watch is not None and trainer.global_step > self._steps:
            self._steps = trainer.global_step
            loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
            if loss is not None:  # Lightning has divided it
                loss = loss * trainer.accumulate_grad_batches
            rates = [group["lr"] for made in trainer.optimizers for group in made.param_groups]
            self.watch.step(loss, learning_rate=rates[0])

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """End."""
        if self.watch is not None:
            self.watch.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """End, and record what ended the training."""
        if self.watch is not None:
            self.watch.close(exception)
