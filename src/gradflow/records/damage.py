"""Damaged part files of a run: found, named, and moved aside so that their rows are made again.

A step's rows are written in the order of the steps, so what a part held lies after the steps of
the part before it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow.compute as pc
import pyarrow.parquet as pq

from gradflow.core.files import DAMAGED, move_aside
from gradflow.records.reader import parts_of
from gradflow.records.schema import SCHEMAS
from gradflow.records.seal import fault_of, line_of
from gradflow.records.writer import errors_named, recover


class Lost(NamedTuple):
    """Damaged parts that were moved aside.

    Attributes:
        lines: one per part, which names it.
        steps: after how many steps all rows are still there; None: after any number.
    """

    lines: list[str]
    steps: int | None


def faults(run: Path) -> Iterator[tuple[str, str, str]]:
    """Table, part file and what is wrong with it, of every damaged part; every byte is read.

    Raises:
        GradflowError: a file may not be read.
    """
    for table, schema in SCHEMAS.items():
        for part in sorted(parts_of(run, table)):
            if fault := fault_of(part, table, schema, whole=True):
                yield table, part, fault


def damage_of(run: Path) -> list[str]:
    """A line per damaged part of a run's records, which names it."""
    return [line_of(part, fault) for _, part, fault in faults(run)]


def moved_aside(run: Path) -> list[str]:
    """The files that were found damaged and moved aside; their rows were made again if possible."""
    return sorted(path.name for path in run.glob(f"*{DAMAGED}"))


def mend(run: Path) -> Lost:
    """Move the damaged parts of a run aside, so that it can make their rows again.

    Raises:
        GradflowError: as `RecordWriter.flush`; or a file may not be read.
    """
    with errors_named(run):
        recover(run)
        lines, steps = [], []
        for table, part, fault in list(faults(run)):
            aside = move_aside(Path(part), run)
            lines.append(f"{part}: damaged ({fault}); moved to {aside.name}")
            if "step" in SCHEMAS[table].names:
                steps.append(_whole_steps(run, table, before=part))
        return Lost(lines, min(steps, default=None))


def _whole_steps(run: Path, table: str, *, before: str) -> int:
    """After how many steps a table has all rows of them, without a part and those behind it."""
    parts = [part for part in parts_of(run, table) if part < before]
    last = [pc.max(pq.ParquetFile(part).read(["step"])["step"]).as_py() for part in parts]
    # An evaluation at step s is one after s steps; any other row is of the step after s.
    return max(last, default=-1) + 1 if table != "evaluations" else max(last, default=0)
