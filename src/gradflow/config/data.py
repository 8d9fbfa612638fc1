"""What every data set has: how much of it, how it is fed, what an example and its target are."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from gradflow.config.registry import Chosen
from gradflow.config.validation import number

CLASSES, NUMBERS, TOKENS = "classes", "numbers", "tokens"
"""What a data set's targets are: a class, some numbers, or the next token at each place."""

IMAGES, VECTORS = "images", "vectors"
"""What its examples are, if not tokens."""


class TokenShape(NamedTuple):
    """The shape of an example of tokens. Another shape is of an image, or of a vector."""

    context: int


Shape = tuple[int, ...]
"""Of an example: (channels, height, width) of an image, (features,) of a vector, TokenShape."""


def kind_of(shape: Shape) -> str:
    """IMAGES, VECTORS or TOKENS."""
    if isinstance(shape, TokenShape):
        return TOKENS
    return VECTORS if len(shape) == 1 else IMAGES


@dataclass(frozen=True)
class DataConfig(Chosen):
    """A data set is a file of gradflow/data/sets: this, with a function config -> Source.

    An option `folder` is where the data lie; it is not part of a run's identity, the data are.

    EVALUATED: how many examples of each split an evaluation takes if evaluation.images is null;
        None: all.
    """

    GROUP: ClassVar[str] = "data"
    EVALUATED: ClassVar[int | None] = None
    batch_size: int = number(64, at_least=2)
    subset: int | None = number(None, at_least=1)
    augment: bool = False
