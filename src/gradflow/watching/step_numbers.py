"""What a training says of each step: its loss, and scalars by name, copied to the host at once."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class StepNumbers:
    """Losses and scalars that wait where they are, on a GPU say, until somebody reads them."""

    def __init__(self) -> None:
        self._losses: list[tuple[int, Tensor | float, float | None]] = []
        self._scalars: list[tuple[int, str, Tensor | float]] = []

    def keep(self, step: int, loss: Any, scalars: dict[str, Any]) -> None:
        """A step's numbers; `learning_rate` among the scalars goes with the loss.

        Raises:
            TypeError, ValueError, RuntimeError: one of them is no number.
        """
        rate = scalars.pop("learning_rate", None)
        if loss is not None or rate is not None:
            rate = None if rate is None else float(rate)
            self._losses.append((step, _value(loss), rate))
        self._scalars += [(step, name, _value(value)) for name, value in scalars.items()]

    def on_host(
        self,
    ) -> tuple[list[tuple[int, float, float | None]], list[tuple[int, str, float]]]:
        """(step, loss, learning rate) and (step, name, scalar) since the last call."""
        losses, self._losses = self._losses, []
        scalars, self._scalars = self._scalars, []
        values = _on_host([loss for _, loss, _ in losses] + [value for _, _, value in scalars])
        mine, theirs = values[: len(losses)], values[len(losses) :]
        return (
            [(step, value, rate) for (step, _, rate), value in zip(losses, mine, strict=True)],
            [(step, name, value) for (step, name, _), value in zip(scalars, theirs, strict=True)],
        )


def _value(value: Any) -> Tensor | float:
    """A number to be copied to the host later; a tensor of one element stays where it is."""
    if isinstance(value, Tensor):
        return value.detach().reshape(()).clone()
    return float("nan") if value is None else float(value)


def _on_host(values: Sequence[Tensor | float]) -> list[float]:
    tensors = [value.double() for value in values if isinstance(value, Tensor)]
    copied = iter(torch.stack(tensors).tolist() if tensors else ())
    return [next(copied) if isinstance(value, Tensor) else value for value in values]
