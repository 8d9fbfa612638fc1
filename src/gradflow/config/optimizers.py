"""What every optimizer has."""

from dataclasses import dataclass
from typing import ClassVar

from gradflow.config.registry import Chosen
from gradflow.config.validation import MISSING, number


@dataclass(frozen=True)
class OptimizerConfig(Chosen):
    """An optimizer is a file of gradflow/training/optimizers: this, with a function.

    The function gets (config, parameters, learning rate) and returns a torch Optimizer. Weight
    decay acts on every parameter, as in He et al. 2015. `clip_norm`: a gradient whose norm over
    all parameters is above it is scaled down to it.
    """

    GROUP: ClassVar[str] = "optimizer"
    learning_rate: float = number(MISSING, above=0)
    weight_decay: float = number(1e-4, at_least=0)
    clip_norm: float | None = number(None, above=0)
