"""Fields that know their own range, and the base class that checks them.

A range is data beside the default, so that a config class reads as a table and the
same facts serve the check, the message and the documentation.
"""

from collections.abc import Mapping
from dataclasses import MISSING as REQUIRED
from dataclasses import Field, field, fields
from typing import Any, ClassVar, NoReturn

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
    """A numeric field; bounds that are given are enforced (None passes, if the type allows it)."""
    bounds = {">": above, ">=": at_least, "<=": at_most, "<": below}
    return field(
        default=default, metadata={"bounds": {k: v for k, v in bounds.items() if v is not None}}
    )


def choice(default: str, *others: str, table: Mapping[str, Any] | None = None) -> Any:
    """A string field that must be `default`, one of `others`, or a key of `table`.

    The table is read each time that a value is checked: what is added to it is a choice.
    """
    table = {} if table is None else table
    return field(default=default, metadata={"choices": (default, *others), "table": table})


def choices_of(entry: Field[Any]) -> tuple[str, ...]:
    """The values that a field of `choice` may have at present, the default first."""
    named = entry.metadata["choices"]
    return tuple(dict.fromkeys((*named, *entry.metadata["table"])))


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
        """Compare each value with the bounds or choices of its field."""
        for entry in fields(self):  # type: ignore[arg-type]  # its subclasses are dataclasses
            value = getattr(self, entry.name)
            if "choices" in entry.metadata and value not in choices_of(entry):
                self.refuse(entry.name, f"choose one of {', '.join(choices_of(entry))}")
            for sign, bound in entry.metadata.get("bounds", {}).items():
                # NaN fails every comparison, so it is refused wherever a bound is stated.
                if value is not None and not _HOLDS[sign](value, bound):
                    self.refuse(entry.name, f"must be {sign} {bound}")

    def refuse(self, name: str, why: str) -> NoReturn:
        """Raise a GradflowError that names a key of this config, its value, and `why`."""
        key = f"{self.GROUP}.{name}" if self.GROUP else name
        raise GradflowError(f"{key}={getattr(self, name)}: {why}")

    def recorded(self) -> dict[str, Any]:
        """Each field's value as records and run ids have it: what is inferred, inferred."""
        return vars(self)
