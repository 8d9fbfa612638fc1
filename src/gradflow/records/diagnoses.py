"""Which diagnoses of a run are there, and which are still to be made."""

from collections.abc import Collection
from pathlib import Path

from gradflow.config.diagnostics import AT, DiagnosticConfig
from gradflow.config.run_id import diagnostic_id
from gradflow.records.index import has_ended
from gradflow.records.reader import parts_of, read_records


def pending(run: Path, diagnostic: DiagnosticConfig) -> list[bool]:
    """For each diagnosis that is wanted of a run that has ended and is not there: whether it
    is of the trained weights. A run that diverged has none worth looking at."""
    if diagnostic.name == "off" or not has_ended(run):
        return []
    done: set[bool] = set()
    if parts_of(run, "diagnoses"):
        where = {"diagnostic_id": diagnostic_id(diagnostic)}
        done = set(read_records(run, "diagnoses", columns=["step"], where=where).step > 0)
    return [trained for trained in measurable(run, diagnostic) if trained not in done]


def failures(study: Path, runs: Collection[str] | None = None) -> list[str]:
    """A line for each diagnostic that failed on some runs of a study, with one of the reasons.

    Args:
        runs: the ids that count; None: all.
    """
    if not any(study.glob("*/failed_diagnoses/part-*.parquet")):
        return []
    rows = read_records(study, "failed_diagnoses", columns=["run_id", "name", "error"])
    rows = rows if runs is None else rows[rows.run_id.isin(list(runs))]
    lines = []
    for name, group in rows.groupby("name"):
        count, reason = group.run_id.nunique(), " ".join(str(group.error.iloc[0]).split())
        some = f"{count} run{'s'[: count != 1]}"
        lines.append(f"diagnostic={name} failed on {some}: {group.run_id.iloc[0]}: {reason}")
    return lines


def measurable(run: Path, diagnostic: DiagnosticConfig) -> list[bool]:
    """For each diagnosis that is wanted of an ended run and can be made: whether it is of the
    trained weights. A run that diverged has none worth looking at."""
    [status] = read_records(run, "runs", columns=["status"]).status
    return [trained for trained in AT[diagnostic.at] if not (trained and status == "diverged")]
