"""A callback for transformers: `Trainer(callbacks=[WatchCallback("runs/first")])`."""

from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.hooks import RemovableHandle
from transformers import TrainerCallback

from gradflow.watching import Watch, watch


class WatchCallback(TrainerCallback):
    """Watches `Trainer.train`; a step is an optimizer's step, whatever is accumulated.

    The loss is the model's own output, of the last part of an accumulated batch.

    Args:
        folder: as `gradflow.watch`.
        options: every, details, settings, scaler, on_alert and sinks of `gradflow.watch`.

    Attributes:
        watch: once the training has begun.

    Raises:
        GradflowError: when the training begins, as `gradflow.watch`.
    """

    def __init__(self, folder: str | Path, **options: Any):
        self.watch: Watch | None = None
        self._folder, self._options = folder, options
        self._loss: Tensor | None = None
        self._hook: RemovableHandle | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """Begin."""
        model = given["model"]
        self.watch = watch(model, self._folder, **self._options).start()
        self._hook = model.register_forward_hook(self._called)

    def on_step_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """A step of the optimizer is over."""
        if self.watch is not None:
            schedule = given.get("lr_scheduler")
            rate = None if schedule is None else schedule.get_last_lr()[0]
            self.watch.step(self._loss, **({} if rate is None else {"learning_rate": rate}))
            self._loss = None

    def on_train_end(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        """End."""
        if self._hook is not None:
            self._hook.remove()
        if self.watch is not None:
            self.watch.close()

    def _called(self, model: Any, inputs: Any, output: Any) -> None:
        """Note the loss of a training pass, if the model puts one out."""
        if model.training:
            loss = output.get("loss") if isinstance(output, dict) else None
            self._loss = loss.detach() if isinstance(loss, Tensor) else None
