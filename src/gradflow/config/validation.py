"""Fields that know their own type and range, and the base class that checks them.

A type is the field's annotation and a range is data beside the default, so that a config class
reads as a table and the same facts serve the check, the message and the documentation.
"""

import json
import math
import operator
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import MISSING as REQUIRED
from dataclasses import Field, field, fields
from functools import cache
from types import NoneType
from typing import Any, ClassVar, NoReturn, get_args, get_origin, get_type_hints

from gradflow.core.errors import GradflowError, UnreadError, shown

Number = int | float

MISSING: Any = "???"
"""The default of what has to be given: OmegaConf's own sign for it, as its classes read these."""
LARGEST = 2**31 - 1
"""The bound of a whole number that states none of its own: int32, the narrowest of records."""
LARGEST_SEED = 2**63 - 1
"""Records keep seeds as int64."""


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


def typed(value: Any, hint: Any) -> Any:
    """`value` as the type `hint`, if that loses nothing: 1 as 1.0, a list as a tuple.

    Text is no number and no truth value, and 8.0 is no whole number.

    Raises:
        ValueError: it is of another type; the message says what it must be.
    """
    kind = get_origin(hint) or hint
    if kind is tuple:
        return _sequence(value, get_args(hint))
    if kind is dict:
        return _mapping(value)
    if options := [option for option in get_args(hint) if option is not NoneType]:
        return None if value is None and NoneType in get_args(hint) else typed(value, options[0])
    if kind in _CONVERT:
        return _CONVERT[kind](value)
    if isinstance(kind, type) and not isinstance(value, kind):
        raise ValueError(f"must be a {kind.__name__}")
    return value


def whole(name: str, value: Any, least: int, most: int = LARGEST) -> int:
    """An argument of a public function as a whole number.

    Raises:
        GradflowError: it is none, or out of its range.
    """
    try:
        number: int = typed(value, int)
    except ValueError as error:
        raise GradflowError(f"{name}={shown(value)}: {error}") from error
    if not least <= number <= most:
        raise GradflowError(f"{name}={shown(value)}: must be >= {least} and <= {most}")
    return number


def _sequence(value: Any, items: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError("must be a list, such as [1,2]")
    if items[-1] is not Ellipsis and len(value) != len(items):
        raise ValueError(f"must be a list of {len(items)}")
    return tuple(typed(item, items[0]) for item in value)


class Options(dict[str, Any]):
    """Options by name, of any kind that JSON has; equal ones have one hash."""

    def __hash__(self) -> int:  # type: ignore[override]  # frozen configs hold it, and nobody writes to it
        return hash(json.dumps(self, sort_keys=True))


def _mapping(value: Any) -> Options:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError("must have names and values, such as {heads: 4}")
    try:
        json.dumps(options := Options(value), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"must hold numbers, text, lists and mappings ({error})") from error
    return options


def _truth(value: Any) -> bool:
    if type(value).__name__ not in ("bool", "bool_"):  # bool_: NumPy's
        raise ValueError("must be true or false")
    return bool(value)


def _whole(value: Any) -> int:
    """Every integer type has __index__, and no other has."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise ValueError("must be a whole number")
    if abs(number) > LARGEST_SEED:
        raise ValueError(f"must be <= {LARGEST_SEED} in size")
    return number


def _real(value: Any) -> float:
    if isinstance(value, bool | str) or not hasattr(value, "__float__"):
        raise ValueError("must be a number")
    try:
        number = float(value)
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError("must be a number of float64") from error
    if math.isinf(number):
        raise ValueError("must be finite")
    return number


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text")
    if not value.isprintable():  # no line ends, NUL, escapes, marks that turn the direction
        raise ValueError("must have printable characters only")
    return value


_CONVERT: dict[Any, Callable[[Any], Any]] = {bool: _truth, int: _whole, float: _real, str: _text}


_SAVED: ContextVar[bool] = ContextVar("_SAVED", default=False)


@contextmanager
def saved_config() -> Iterator[None]:
    """Inside, a config may hold what `Checked.refuse_new` refuses: earlier runs were made with it,
    and are still read and diagnosed."""
    before = _SAVED.set(True)
    try:
        yield
    finally:
        _SAVED.reset(before)


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)


class Checked:
    """Base of every config class: checks each field's type and range when an instance is made.

    Values are kept as the type of their field: a whole number as a float, a list as a tuple.

    Raises:
        GradflowError: a value is of another type or out of its range; the message names the
            key as it is typed on the command line, the value and what would be valid.
    """

    GROUP: ClassVar[str] = ""

    def __post_init__(self) -> None:
        """Compare each value with the type, and the bounds or choices, of its field."""
        cls: Any = type(self)  # to mypy a class is not hashable while its instances may not be
        hints = _hints(cls)
        for entry in fields(self):  # type: ignore[arg-type]  # its subclasses are dataclasses
            try:
                value = typed(getattr(self, entry.name), hints[entry.name])
            except ValueError as error:
                self.refuse(entry.name, str(error))
            object.__setattr__(self, entry.name, value)  # frozen for everybody else
            self._check_range(entry, value)

    def _check_range(self, entry: Field[Any], value: Any) -> None:
        if "choices" in entry.metadata and value not in choices_of(entry):
            self.refuse(entry.name, f"choose one of {', '.join(choices_of(entry))}")
        bounds = entry.metadata.get("bounds", {})
        for sign, bound in bounds.items():
            # NaN fails every comparison, so it is refused wherever a bound is stated.
            if value is not None and not _HOLDS[sign](value, bound):
                self.refuse(entry.name, f"must be {sign} {bound}")
        if isinstance(value, float) and math.isnan(value):
            self.refuse(entry.name, "must be a number")
        if not bounds.keys() & {"<", "<="}:
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, int) and abs(number) > LARGEST:
                    self.refuse(entry.name, f"must be <= {LARGEST}")

    def refuse(self, name: str, why: str) -> NoReturn:
        """Raise a GradflowError that names a key of this config, its value, and `why`."""
        raise GradflowError(f"{self._key(name)}={shown(getattr(self, name))}: {why}")

    def refuse_new(self, name: str, why: str) -> None:
        """As `refuse`, but not of a saved config: what is ignored or does not fit, yet was run."""
        if not _SAVED.get():
            self.refuse(name, why)

    def refuse_unread(self, name: str, why: str) -> None:
        """As `refuse_new`, of an option that nothing reads; a sweep asks which it is."""
        try:
            self.refuse_new(name, why)
        except GradflowError as error:
            raise UnreadError(str(error), self._key(name)) from None

    def _key(self, name: str) -> str:
        return f"{self.GROUP}.{name}" if self.GROUP else name

    def recorded(self) -> dict[str, Any]:
        """Each field's value as records and run ids have it: what is inferred, inferred."""
        return vars(self)
