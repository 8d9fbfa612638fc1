"""Fields that know their own range, and the base class that checks them.

A range is data beside the default, so that a config class reads as a table and the
same facts serve the check, the message and the documentation.
"""

from dataclasses import MISSING as REQUIRED
from dataclasses import field, fields
from typing import Any, ClassVar

from gradflow.core.errors import GradflowError

Number = int | float


def number(
    default: Any = REQUIRED,
    *,
    above: Number | None = None,
    at_least: Number | None = None,
    at_most: Number | None = None,
    below: Number | None = None,
) -> Any:
    """A numeric field; bounds that are given are enforced (None, where allowed, passes)."""
    bounds = {">": above, ">=": at_least, "<=": at_most, "<": below}
    return field(
        default=default, metadata={"bounds": {k: v for k, v in bounds.items() if v is not None}}
    )


def choice(default: str, *others: str) -> Any:
    """A string field that must be `default` or one of `others` (which may repeat it)."""
    return field(default=default, metadata={"choices": tuple(dict.fromkeys((default, *others)))})


_HOLDS = {
    ">": lambda value, bound: value > bound,
    ">=": lambda value, bound: value >= bound,
    "<=": lambda value, bound: value <= bound,
    "<": lambda value, bound: value < bound,
}


class Checked:
    """Base of every config class: checks each field's range when an instance is made.

    Raises:
        GradflowError: a value is out of its range; the message names the key as it is
            typed on the command line, the value and the range.
    """

    GROUP: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for entry in fields(self):  # type: ignore[arg-type]
            value = getattr(self, entry.name)
            choices = entry.metadata.get("choices")
            if choices is not None and value not in choices:
                self.refuse(entry.name, f"choose one of {', '.join(choices)}")
            for sign, bound in entry.metadata.get("bounds", {}).items():
                # NaN fails every comparison, so it is refused wherever a bound is stated.
                if value is not None and not _HOLDS[sign](value, bound):
                    self.refuse(entry.name, f"must be {sign} {bound}")

    def refuse(self, name: str, why: str) -> None:
        key = f"{self.GROUP}.{name}" if self.GROUP else name
        raise GradflowError(f"{key}={getattr(self, name)}: {why}")
