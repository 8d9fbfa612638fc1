"""A batch and a loss, as a user gives them, and what a model makes of them."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gradflow.core.errors import GradflowError, shown
from gradflow.probes import between_examples
from gradflow.watching.user_function import first_line

EXAMPLES = 8  # whose gradients are compared, at most
Loss = Callable[[Any, Any], Tensor]


class Losses:
    """The loss of a batch, and of its examples one by one.

    Args:
        batch, loss: as `gradflow.inspect` takes them.

    Raises:
        GradflowError: they are of another type, or do not go together.
    """

    def __init__(self, batch: Any, loss: Loss | None):
        if loss is not None and not callable(loss):
            raise GradflowError(f"loss={shown(loss)}: must be a function of outputs and targets")
        if loss is None and not isinstance(batch, Mapping):
            raise GradflowError("batch: without a loss it must be a dict of the model's arguments")
        if loss is not None and not (isinstance(batch, tuple | list) and len(batch) == 2):
            raise GradflowError("batch: with a loss it must be (inputs, targets)")
        self._loss = loss
        self._inputs: Any = batch if loss is None else batch[0]
        self._targets: Any = None if loss is None else batch[1]

    def whole(self, model: nn.Module) -> Tensor:
        """The batch's.

        Raises:
            GradflowError: it is no single number; or what the model or the loss raised.
        """
        name = type(model).__name__
        try:
            value = self._of(self._outputs(model), self._targets)
        except Exception as error:
            raise GradflowError(f"{name}: {shown(first_line(error), 300)}") from error
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
            raise GradflowError(f"{name}: its loss must be one number with a gradient")
        return value.reshape(())

    def cosine(self, model: nn.Module) -> float:
        """Between examples; NaN if the outputs cannot be taken apart by example."""
        targets = self._targets
        if not isinstance(targets, Tensor) or targets.ndim == 0 or len(targets) < 2:
            return float("nan")
        chosen = range(min(EXAMPLES, len(targets)))

        def losses() -> Tensor:
            outputs = self._outputs(model)
            return torch.stack([self._of(outputs[[i]], targets[[i]]) for i in chosen])

        try:
            return float(between_examples(model, losses)[0])
        except Exception:  # of whatever the user's loss cannot do with one example
            return float("nan")

    def _outputs(self, model: nn.Module) -> Any:
        if isinstance(self._inputs, Mapping):
            return model(**self._inputs)
        return model(*self._inputs) if isinstance(self._inputs, tuple) else model(self._inputs)

    def _of(self, outputs: Any, targets: Any) -> Tensor:
        return outputs.loss if self._loss is None else self._loss(outputs, targets)
