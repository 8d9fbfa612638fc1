"""What every data set has: how much of it, and how it is fed."""

from dataclasses import dataclass
from typing import ClassVar

from gradflow.config.registry import Chosen
from gradflow.config.validation import number


@dataclass(frozen=True)
class DataConfig(Chosen):
    """A data set is a file of gradflow/data/sets: this, with a function config -> Source.

    An option `folder` is where the data lie; it is not part of a run's identity, the data are.
    """

    GROUP: ClassVar[str] = "data"
    batch_size: int = number(64, at_least=2)
    subset: int | None = number(None, at_least=1)
    augment: bool = False
