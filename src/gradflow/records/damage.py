"""Damaged part files of a run: found, named, and moved aside so that their rows are made again.

A step's rows are written in the order of the steps, so what a part held lies after the steps of
the part before it.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow.compute as pc
import pyarrow.parquet as pq

from gradflow.config.diagnostics import DiagnosticConfig
from gradflow.config.registry import classes_of, name_of
from gradflow.config.saved import check_config
from gradflow.core.errors import GradflowError
from gradflow.core.files import DAMAGED, move_aside
from gradflow.records.diagnostic_schema import diagnostic_schemas
from gradflow.records.reader import parts_of, read_records
from gradflow.records.schema import SCHEMAS
from gradflow.records.seal import MISSING, SURPLUS, fault_of, line_of, parts_listed
from gradflow.records.writer import (
    REPLACED,
    cut_rows,
    errors_named,
    parts_of_training,
    recover,
)


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
    try:
        there = {name.removesuffix(REPLACED) for name in os.listdir(run)}
    except (FileNotFoundError, NotADirectoryError):
        return
    damaged = set()
    for table, schema in SCHEMAS.items():
        for part in sorted(parts_of(run, table)) if table in there else ():
            if fault := fault_of(part, table, schema, whole=True):
                damaged.add(part)
                yield table, part, fault
    for part in parts_of(run, "runs"):
        if part not in damaged and (listed := parts_listed(part)) is not None:
            for name, fault in _differing(listed, parts_of_training(run)):
                if str(run / name) not in damaged:
                    yield name.partition("/")[0], str(run / name), fault


def _differing(listed: dict[str, str], there: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Parts that a run ended with and has no more, or has now and did not end with."""
    for name in sorted({*listed, *there}):
        if name not in there:
            yield name, MISSING
        elif name not in listed:
            yield name, SURPLUS
        elif listed[name] != there[name]:
            yield name, "the run ended with another"


def damage_of(run: Path) -> list[str]:
    """A line per damaged part of a run's records, and for one that may not be read; it names it."""
    lines = []
    try:
        for _, part, fault in faults(run):
            lines.append(line_of(part, fault))
    except GradflowError as error:
        lines.append(str(error))
    return lines


def config_damage(run: Path) -> list[str]:
    """A line if a run's config.yaml is damaged or may not be read."""
    try:
        check_config(run / "config.yaml")
    except GradflowError as error:
        return [str(error)]
    return []


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
            lines.append(_aside(run, part, fault))
            if "step" in SCHEMAS[table].names:
                steps.append(_whole_steps(run, table, before=part))
        return Lost(lines, min(steps, default=None))


def _aside(run: Path, part: str, fault: str) -> str:
    if not os.path.lexists(part):
        return f"{part}: damaged ({fault})"
    aside = move_aside(Path(part), run)
    return f"{part}: damaged ({fault}); moved to {aside.name}"


def mend_ended(run: Path) -> list[str]:
    """Make an ended run with damaged parts one whose records can be made again; what was done.

    Damaged parts are moved aside. Diagnoses that they were of are pending. If one was of the
    training, the run has not ended any more, and is to be trained from step 0. Of its attempts
    nothing can be made again.

    Raises:
        GradflowError: as `mend`.
    """
    found = list(faults(run))
    apart = {"attempts", *diagnostic_schemas()}
    with errors_named(run):
        lines = _undiagnosed(run, {table for table, *_ in found})
        lines += [_aside(run, part, fault) for table, part, fault in found if table in apart]
        trained = [(part, fault) for table, part, fault in found if table not in apart]
        if trained:
            lines += [_aside(run, part, fault) for part, fault in trained]
            lines.append(f"{run}: is trained again from step 0, as records are damaged")
            for part in parts_of(run, "runs"):
                Path(part).unlink()
    return lines


def _undiagnosed(run: Path, tables: set[str]) -> list[str]:
    """Take away what says that the diagnoses of these tables are whole."""
    if not parts_of(run, "diagnoses") or "diagnoses" in tables:
        return []
    of_training = not tables <= {"attempts", *diagnostic_schemas()}  # its diagnoses go with it
    kinds = [kind for kind in classes_of("diagnostic") if issubclass(kind, DiagnosticConfig)]
    hit = {name_of(kind) for kind in kinds if not tables.isdisjoint(kind.TABLES)}
    lines = []
    for name in read_records(run, "diagnoses", columns=["name"]).name.unique():
        if of_training or name in hit:
            cut_rows(run, "diagnoses", {"name": name})
            again = f"gradflow diagnose run={run} diagnostic={name}"
            lines.append(f"{run}: its {name} is to be measured again: {again}")
    return lines


def _whole_steps(run: Path, table: str, *, before: str) -> int:
    """After how many steps a table has all rows of them, without a part and those behind it."""
    parts = [part for part in parts_of(run, table) if part < before]
    last = [pc.max(pq.ParquetFile(part).read(["step"])["step"]).as_py() for part in parts]
    # An evaluation at step s is one after s steps; any other row is of the step after s.
    return max(last, default=-1) + 1 if table != "evaluations" else max(last, default=0)
