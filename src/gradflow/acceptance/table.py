"""Claims tested one after the other, and their table in three formats."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gradflow.acceptance.claim import Claim, NotRun
from gradflow.analysis.tables import Cell, Table
from gradflow.config.acceptance import AcceptanceConfig
from gradflow.statistics import Interval

PASS, FAIL, NOT_RUN = "pass", "fail", "not run"
FULL = ("claim", "source", "how", "expected", "tolerance", "reason", "measured", "result")
SHORT = ("claim", "source", "expected", "tolerance", "measured", "result")


Outcome = tuple[str, Interval | None, str]
"""Of a claim: status, what was measured, note."""


@dataclass(frozen=True)
class Result:
    """What became of a claim; `note` says why it was not run, or which error it raised."""

    claim: Claim
    status: str
    measured: Interval | None = None
    note: str = ""


def check(
    claims: Sequence[Claim],
    config: AcceptanceConfig,
    report: Callable[[Result, float], None] = lambda result, seconds: None,
) -> list[Result]:
    """Test every claim; `report` receives each result and the seconds that it took.

    A claim that raises has failed, and the next one is tested.
    """
    results = []
    for claim in claims:
        start = time.perf_counter()
        result = _check(claim, config)
        report(result, time.perf_counter() - start)
        results.append(result)
    return results


def _check(claim: Claim, config: AcceptanceConfig) -> Result:
    try:
        measured = claim.measure(config)
    except NotRun as why:
        return Result(claim, NOT_RUN, note=_one_line(why))
    except Exception as error:
        return Result(claim, FAIL, note=f"{type(error).__name__}: {_one_line(error)}")
    return Result(claim, PASS if claim.band.holds(measured) else FAIL, measured)


def summary(results: Sequence[Result]) -> str:
    """One line: how many claims passed, failed, were not run."""
    counts = {status: sum(r.status == status for r in results) for status in (PASS, FAIL, NOT_RUN)}
    line = f"{counts[PASS] + counts[FAIL]} claims tested: {counts[PASS]} pass, {counts[FAIL]} fail"
    return line + (f"; {counts[NOT_RUN]} not run" if counts[NOT_RUN] else "")


def row(result: Result) -> dict[str, Cell]:
    """A result in words."""
    claim = result.claim
    return {
        "claim": claim.name,
        "source": claim.source,
        "how": claim.how,
        "expected": _number(claim.band.expected),
        "tolerance": claim.band.tolerance,
        "reason": claim.reason,
        "measured": "-" if result.measured is None else _interval(result.measured),
        "result": result.status + (f": {result.note}" if result.note else ""),
    }


def to_markdown(results: Sequence[Result], columns: Sequence[str] = FULL) -> str:
    """A Markdown table, a row per claim."""
    rows = map(row, results)
    return f"{Table([{column: found[column] for column in columns} for found in rows])}\n"


def to_csv(results: Sequence[Result]) -> str:
    """The same columns as comma-separated values."""
    return Table([row(result) for result in results]).csv


def to_json(results: Sequence[Result], provenance: Mapping[str, Any]) -> str:
    """The same rows with their numbers unrounded (null: there is none), and their provenance."""
    claims = []
    for result in results:
        band = result.claim.band
        measured = result.measured or Interval(math.nan, math.nan, math.nan, 0)
        numbers = {
            "expected": band.expected,
            "lowest": band.low,
            "highest": band.high,
            "measured": measured.mean,
            "interval_low": measured.low,
            "interval_high": measured.high,
        }
        finite = {k: v if math.isfinite(v) else None for k, v in numbers.items()}
        claims.append({**row(result), "numbers": {**finite, "n": measured.n}})
    found = {"provenance": dict(provenance), "summary": summary(results), "claims": claims}
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def _number(value: float) -> str:
    return f"{value:.4g}"


def _interval(measured: Interval) -> str:
    text = _number(measured.mean)
    if measured.n > 1:
        text += f" ({_number(measured.low)} ... {_number(measured.high)})"
    return text


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
