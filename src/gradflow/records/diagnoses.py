"""Which diagnoses of a run are there, and which are still to be made."""

from pathlib import Path

from gradflow.config.diagnostics import AT, DiagnosticConfig
from gradflow.config.run_id import diagnostic_id
from gradflow.records.index import has_ended
from gradflow.records.reader import read_records


def pending(run: Path, diagnostic: DiagnosticConfig) -> list[bool]:
    """For each diagnosis that is wanted of a run that has ended and is not there: whether it
    is of the trained weights. A run that diverged has none worth looking at."""
    if diagnostic.name == "off" or not has_ended(run):
        return []
    done: set[bool] = set()
    if (run / "diagnoses").is_dir():
        where = {"diagnostic_id": diagnostic_id(diagnostic)}
        done = set(read_records(run, "diagnoses", columns=["step"], where=where).step > 0)
    return [trained for trained in measurable(run, diagnostic) if trained not in done]


def measurable(run: Path, diagnostic: DiagnosticConfig) -> list[bool]:
    """For each diagnosis that is wanted of an ended run and can be made: whether it is of the
    trained weights. A run that diverged has none worth looking at."""
    [status] = read_records(run, "runs", columns=["status"]).status
    return [trained for trained in AT[diagnostic.at] if not (trained and status == "diverged")]
