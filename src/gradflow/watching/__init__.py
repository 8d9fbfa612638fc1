"""Measuring the user's own training: records, alerts, and what passes them on."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from gradflow.watching.alerts import Alert
from gradflow.watching.rules import RULES
from gradflow.watching.session import Watch

__all__ = ["RULES", "Alert", "Watch", "watch"]


def watch(
    model: nn.Module,
    folder: str | Path,
    *,
    every: int = 10,
    details: int = 10,
    settings: Mapping[str, Any] | None = None,
    scaler: Any = None,
    on_alert: Callable[[Alert], object] | None = None,
    sinks: Sequence[Any] = (),
) -> Watch:
    """Watch a training: `with gradflow.watch(model, folder="runs/first") as watch:`.

    Args:
        model: any module; pass it before torch.compile.
        folder: of the run's tables; a new one, or an empty one.
        every: measured are the steps 0, every, 2 every, ...
        details: every how many measured steps look closely: dead units, zero gradients.
        settings: free-form, name -> value; the page shows them.
        scaler: a torch.amp.GradScaler in use.
        on_alert: called with each alert.
        sinks: where to show the series too, see `gradflow.watching.sinks`.

    Returns:
        A context manager, and an object with `start`, `step`, `close` and `plot`.

    Raises:
        GradflowError: a value of another type or range, a folder that holds something already,
            or a model without a weighted layer.
    """
    return Watch(
        model,
        folder,
        every=every,
        details=details,
        settings=settings,
        scaler=scaler,
        on_alert=on_alert,
        sinks=sinks,
    )
