"""Numbers and cells as text: Markdown and LaTeX from the same digits."""

import re

import numpy as np

from gradflow.statistics import Interval

Cell = str | int | float | Interval | None

SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
TIMES = "\u00d7"
POWER = re.compile(rf"(-?[\d.]+) {TIMES} 10([⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+)")
PLAIN_FROM, POWERS_FROM = 1e-3, 1e4  # between these a number is written without a power of ten


def number(value: float, form: str) -> str:
    """A number by a format of `Table.formats`.

    ".2g" and the like: this number of significant digits, no zeros at their end, a power of ten
    if it is long; "p": a p value, three decimals without the 0 before them, or "< .001". All
    others are Python's.
    """
    if np.isnan(value):
        return "-"
    if form == "p":
        return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")
    digits = re.fullmatch(r"\.(\d+)g", form)
    if digits is None or not np.isfinite(value):
        return f"{value:{form}}"
    places = int(digits[1]) - 1
    mantissa, power = f"{value:.{places}e}".split("e")
    if value == 0 or PLAIN_FROM <= abs(float(f"{mantissa}e{power}")) < POWERS_FROM:
        decimals = places - int(power)
        text = f"{round(value, decimals):.{max(decimals, 0)}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{mantissa} {TIMES} 10{str(int(power)).translate(SUPERSCRIPTS)}"


def shown(cell: Cell, form: str) -> str:
    """A cell as text; a dash for None and NaN, and an interval as mean (low ... high)."""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Interval):
        if np.isnan(cell.mean):
            return "-"
        return f"{number(cell.mean, form)} ({number(cell.low, form)} ... {number(cell.high, form)})"
    if cell is None:
        return "-"
    return str(cell) if isinstance(cell, int | np.integer) else number(float(cell), form)
