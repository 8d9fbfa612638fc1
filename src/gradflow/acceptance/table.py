"""Claims tested one after the other, and their table in three formats."""

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gradflow.acceptance.claim import Band, Basis, Claim, NotRun, Sample
from gradflow.analysis.tables import Cell, Table
from gradflow.config.acceptance import AcceptanceConfig
from gradflow.statistics import Interval

PASS, FAIL, UNDECIDED, NOT_RUN = "pass", "fail", "undecided", "not run"
FULL = ("claim", "source", "basis", "how", "expected", "tolerance", "reason", "measured", "result")
SHORT = ("claim", "source", "expected", "tolerance", "measured", "result")


MORE = 4  # times the networks, for a claim that is undecided
LOOKS = 2
MOST = 120  # claims of the catalogue at most; a test compares
FALSE_FAILURES = 0.05  # the chance of one or more in the whole table, all claims being true

Outcome = tuple[str, Interval | None, str]
"""Of a claim: status, what was measured, note."""


@dataclass(frozen=True)
class Result:
    """What became of a claim; `note` says why it was not run, or which error it raised."""

    claim: Claim
    status: str
    measured: Interval | None = None
    note: str = ""

    @property
    def is_new_failure(self) -> bool:
        """Whether it failed and is not known to."""
        return self.status == FAIL and not self.claim.fails_because


def check(
    claims: Sequence[Claim],
    config: AcceptanceConfig,
    report: Callable[[Result, float], None] = lambda result, seconds: None,
) -> list[Result]:
    """Test every claim; `report` receives each result and the seconds that it took.

    A claim passes if all of its 95 % interval is in its band. It fails if none of a wider
    interval is, whose level leaves at most 5 % for any false failure in the whole catalogue:
    1 - 0.05 / (LOOKS x MOST), since a claim between the two is measured once more, with MORE times
    the networks. What is between them still is undecided. A claim that raises has failed, and
    the next one is tested.
    """
    results = []
    for claim in claims:
        start = time.perf_counter()
        result = _check(claim, config)
        if result.status == UNDECIDED:
            result = _check(claim, replace(config, times=MORE * config.times))
        report(result, time.perf_counter() - start)
        results.append(result)
    return results


def _check(claim: Claim, config: AcceptanceConfig) -> Result:
    try:
        sample = claim.measure(config)
    except NotRun as why:
        return Result(claim, NOT_RUN, note=_one_line(why))
    except Exception as error:
        return Result(claim, FAIL, note=f"{type(error).__name__}: {_one_line(error)}")
    status = decided(claim.band, sample)
    return Result(claim, status, sample.interval(), claim.fails_because if status == FAIL else "")


def decided(band: Band, sample: Sample) -> str:
    """PASS, FAIL or UNDECIDED, of one look; see `check`."""
    if band.holds(sample.interval()):
        return PASS
    return (
        FAIL if band.excludes(sample.interval(1 - FALSE_FAILURES / (LOOKS * MOST))) else UNDECIDED
    )


def summary(results: Sequence[Result]) -> str:
    """One line: how many claims passed, failed, are undecided, were not run."""
    counts = Counter(result.status for result in results)
    line = (
        f"{len(results) - counts[NOT_RUN]} claims tested: {counts[PASS]} pass, {counts[FAIL]} fail"
    )
    rest = [f"{counts[status]} {status}" for status in (UNDECIDED, NOT_RUN) if counts[status]]
    return "; ".join([line, *rest])


def by_basis(results: Sequence[Result]) -> str:
    """A line per basis: the number of its claims that passed, and of those tested."""
    tested = [result for result in results if result.status != NOT_RUN]
    lines = []
    for basis in Basis:
        own = [result.status for result in tested if result.claim.basis == basis]
        lines.append(f"{basis}: {own.count(PASS)} of {len(own)} pass")
    return "\n".join(lines)


def row(result: Result) -> dict[str, Cell]:
    """A result in words."""
    claim = result.claim
    return {
        "claim": claim.name,
        "source": claim.source,
        "basis": str(claim.basis),
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
    found = {
        "provenance": dict(provenance),
        "summary": summary(results),
        "bases": by_basis(results).splitlines(),
        "claims": claims,
    }
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
