"""What is searched: Hydra's interval(), range() and choice() as Optuna's distributions."""

import re
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep

from gradflow.core.errors import GradflowError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def is_list(override: Override) -> bool:
    """Whether a key has several values that are listed, as in a=1,2."""
    value = override.value()
    return isinstance(value, ChoiceSweep) and value.simple_form


def distribution(override: Override) -> "BaseDistribution":
    """What Optuna proposes a value from.

    Raises:
        GradflowError: the interval is empty, or has no logarithm.
    """
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    value: Any = override.value()
    key = override.get_key_element()
    try:
        if isinstance(value, ChoiceSweep | RangeSweep):
            return CategoricalDistribution([str(v) for v in override.sweep_string_iterator()])
        log = "log" in value.tags
        if isinstance(value.start, int) and isinstance(value.end, int):
            return IntDistribution(value.start, value.end, log=log)
        return FloatDistribution(value.start, value.end, log=log)
    except ValueError as error:
        raise GradflowError(f"{key}: cannot be searched: {error}") from error


def ends_of(searched: "BaseDistribution") -> list[Any]:
    """Of an interval both ends, else every choice."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(searched, CategoricalDistribution):
        return list(searched.choices)
    assert isinstance(searched, FloatDistribution | IntDistribution)  # `distribution` makes these
    return [searched.low, searched.high]


def quoted(text: str) -> str:
    """Text as a value of Hydra's grammar, whatever it contains."""
    escaped = re.sub(r"(\\*)'", r"\1\1\'", text)
    return f"'{escaped}'"
