"""Where a closed form holds: outside of it a function raises rather than return a number."""

import math
from numbers import Integral, Real

from gradflow.core.errors import GradflowError

MOST = 1_000_000  # layers or blocks: some closed forms are sums or products over them


def require(condition: bool, name: str, value: object, valid: str) -> None:
    """Raise a GradflowError that names the argument and what it must be."""
    if not condition:
        shown = " ".join(str(value).split())
        raise GradflowError(f"{name}={shown[:80]}: must be {valid}")


def real(
    value: object,
    name: str,
    valid: str = "a finite number",
    *,
    low: float = -math.inf,
    high: float = math.inf,
    above: float = -math.inf,
) -> float:
    """`value` as a float.

    Raises:
        GradflowError: it is no finite number, or not from `low` to `high` and above `above`.
    """
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    require(is_number, name, value, f"{valid}, as a number")
    try:
        number = float(value)  # type: ignore[arg-type]  # it is a Real
    except OverflowError:  # an integer of more than 308 digits
        number = math.inf
    require(math.isfinite(number) and low <= number <= high and number > above, name, value, valid)
    return number


def count(value: object, name: str, *, low: int = 1, high: int = MOST) -> int:
    """`value` as an int.

    Raises:
        GradflowError: it is no integer from `low` to `high`.
    """
    is_integer = isinstance(value, Integral) and not isinstance(value, bool)
    require(is_integer, name, value, f"an integer, at least {low}")
    number: int = int(value)  # type: ignore[call-overload]  # it is an Integral
    require(number >= low, name, value, f"at least {low}")
    require(number <= high, name, value, f"at most {high}")
    return number


def representable(value: float, what: str) -> float:
    """`value`, computed from valid arguments.

    Raises:
        GradflowError: it is not finite: float64 ends at 1.8e308.
    """
    if not math.isfinite(value):
        raise GradflowError(f"{what}: the result is outside of float64, which ends at 1.8e308")
    return float(value)
