"""Loops on accelerate: `with watch_accelerated(accelerator, model, "runs/first") as watch:`."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from gradflow.watching import Watch


class AcceleratedWatch(Watch):
    """A watch whose `step` counts only where accelerate synchronizes the gradients.

    So `watch.step(loss)` may stand in a loop under `accelerator.accumulate`, after
    `optimizer.step()`.
    """

    def __init__(self, accelerator: Any, model: nn.Module, folder: str | Path, **options: Any):
        inner = accelerator.unwrap_model(model)
        super().__init__(inner, folder, scaler=accelerator.scaler, **options)
        self._accelerator = accelerator

    def step(self, loss: Tensor | float | None = None, **scalars: Tensor | float) -> None:
        """See `Watch.step`; nothing between the parts of an accumulated batch."""
        if self._accelerator.sync_gradients:
            super().step(loss, **scalars)


def watch_accelerated(
    accelerator: Any, model: nn.Module, folder: str | Path, **options: Any
) -> AcceleratedWatch:
    """Watch a model that `accelerator.prepare` has returned.

    Args:
        options: every, details, settings, on_alert and sinks of `gradflow.watch`. The scaler is
            the accelerator's.

    Raises:
        GradflowError: as `gradflow.watch`.
    """
    return AcceleratedWatch(accelerator, model, folder, **options)
