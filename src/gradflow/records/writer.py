"""Crash-safe writing: whole part files or nothing."""

import functools
import operator
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gradflow.core.errors import DamageError, GradflowError
from gradflow.core.files import atomic_file
from gradflow.core.locks import check_held
from gradflow.records.diagnostic_schema import diagnostic_schemas
from gradflow.records.schema import SCHEMAS
from gradflow.records.seal import digest_of, fault_of, line_of, sealed

APART = "runs", "attempts"  # the tables that an ended run does not list, beside diagnoses
REPLACED = ".replaced"  # suffix of a table's parts while their compacted form takes their place


class RecordWriter:
    """Buffers rows and writes them as `<folder>/<table>/part-00000.parquet`, and so on.

    A part appears under its name only when it is complete on disk, so a reader may open
    the folder at any moment and a killed process leaves no torn file.
    """

    def __init__(self, folder: Path, run_id: str):
        self.folder = folder
        self.run_id = run_id
        self._buffers: dict[str, list[pa.Table]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.flush()

    def add(self, table: str, **columns: Any) -> None:
        """Buffer rows: one sequence a column, all of one length; a scalar stands for all rows.

        Raises:
            GradflowError: an unknown table, or columns other than the table's.
        """
        if table not in SCHEMAS:
            raise GradflowError(f"table={table}: choose one of {', '.join(SCHEMAS)}")
        schema = SCHEMAS[table]
        columns = {"run_id": self.run_id, **columns}
        if set(columns) != set(schema.names):
            odd = sorted(set(columns) ^ set(schema.names))
            raise GradflowError(f"table {table}: missing or unknown columns {', '.join(odd)}")
        length = max((len(v) for v in columns.values() if _is_sequence(v)), default=1)
        arrays = []
        for entry in schema:
            values = columns[entry.name]
            if isinstance(values, pa.ChunkedArray | pa.Array):
                arrays.append(values.cast(entry.type, safe=False))
            elif _is_sequence(values):
                arrays.append(pa.array(values, type=entry.type))
            else:
                arrays.append(pa.repeat(pa.scalar(values, type=entry.type), length))
        self._buffers.setdefault(table, []).append(pa.table(arrays, schema=schema))

    def flush(self) -> None:
        """Write everything buffered, one part a table.

        Raises:
            GradflowError: the disk is full or the folder cannot be written to; the parts
                written before are intact. Or the lock that this process had on the run is lost.
        """
        if any(self._buffers.values()):
            check_held(self.folder)
        with errors_named(self.folder):
            recover(self.folder)  # a part written beside parts set aside would replace them
        for table in list(self._buffers):
            rows = pa.concat_tables(self._buffers[table])
            folder = self.folder / table
            if rows.num_rows:
                with errors_named(folder):
                    folder.mkdir(parents=True, exist_ok=True)
                    parts = parts_of_training(self.folder) if table == "runs" else None
                    _write(rows, folder / _next_name(folder), self.folder, table, parts)
            del self._buffers[table]

    def compact(self) -> None:
        """Make one part of each table's many; done at the end of a run, and of a diagnosis.

        The parts are set aside under another name, where `read_records` still finds them,
        in the instant before the new part is there: killed at any moment, no row is lost
        and none is there twice.

        Raises:
            GradflowError: as `flush`.
            DamageError: a part is not what was written.
        """
        self.flush()
        check_held(self.folder)
        # Of a run that has ended, one more part than it ended with is damage, and stays as it is.
        apart = {*APART, *diagnostic_schemas()}
        for table in apart if any(self.folder.glob("runs/part-*.parquet")) else SCHEMAS:
            folder = self.folder / table
            parts = sorted(folder.glob("part-*.parquet"))
            if len(parts) < 2:
                continue
            whole = folder.with_suffix(".whole")
            with errors_named(folder):
                shutil.rmtree(whole, ignore_errors=True)
                whole.mkdir()
                rows = pa.concat_tables(_read(part, table) for part in parts)
                _write(rows, whole / _next_name(folder), self.folder, table)
                folder.rename(folder.with_suffix(REPLACED))
                whole.rename(folder)
                shutil.rmtree(folder.with_suffix(REPLACED))


def recover(folder: Path) -> None:
    """Put a run's folder in order after a process was killed while it wrote or compacted."""
    for replaced in folder.glob(f"*{REPLACED}"):
        if replaced.with_suffix("").exists():
            shutil.rmtree(replaced)
        else:
            replaced.rename(replaced.with_suffix(""))
    for whole in folder.glob("*.whole"):
        shutil.rmtree(whole)
    for partial in (*folder.glob("*/*.tmp"), *folder.glob(".*.tmp")):
        partial.unlink()


def cut_back(folder: Path, steps_done: int) -> None:
    """Take away a run's records of steps from `steps_done` on; its attempts stay.

    An evaluation after `steps_done` updates is kept: its step is that number.

    Raises:
        GradflowError: as `RecordWriter.flush`.
    """
    with errors_named(folder):
        recover(folder)
        for table, schema in SCHEMAS.items():
            if "step" not in schema.names:
                continue
            end = steps_done + (table == "evaluations")
            _keep(folder, table, pc.field("step") < end)


def cut_rows(folder: Path, table: str, where: Mapping[str, Any]) -> None:
    """Take away a run's rows of one table that have these values.

    Raises:
        GradflowError: as `RecordWriter.flush`.
    """
    matches = [pc.field(name) == value for name, value in where.items()]
    with errors_named(folder):
        recover(folder)
        _keep(folder, table, ~functools.reduce(operator.and_, matches))


def _keep(folder: Path, table: str, wanted: pc.Expression) -> None:
    for part in folder.glob(f"{table}/part-*.parquet"):
        rows = _read(part, table)
        kept = rows.filter(wanted)
        if not kept.num_rows:
            part.unlink()
        elif kept.num_rows < rows.num_rows:
            _write(kept, part, folder, table)


def _next_name(folder: Path) -> str:
    """A name that no part had before: a reader with an old listing never opens a new file."""
    numbers = [int(part.stem.removeprefix("part-")) for part in folder.glob("part-*.parquet")]
    return f"part-{max(numbers, default=-1) + 1:05d}.parquet"


def parts_of_training(run: Path) -> dict[str, str]:
    """Path in the run's folder -> digest of each part that no diagnosis and no attempt wrote."""
    apart = {*APART, *diagnostic_schemas()}
    paths = (path for path in run.glob("*/part-*.parquet") if path.parent.name in SCHEMAS)
    own = sorted(path for path in paths if path.parent.name not in apart)
    return {f"{path.parent.name}/{path.name}": digest_of(path) for path in own}


def _write(
    rows: pa.Table, path: Path, run: Path, table: str, parts: Mapping[str, str] | None = None
) -> None:
    """One parquet file, on disk before it has its name."""
    with atomic_file(path) as file:
        is_own = rows["run_id"][0].as_py() == run.name
        file.write(sealed(rows, of=f"{run.name}/{table}" if is_own else "", parts=parts))


def _read(part: Path, table: str) -> pa.Table:
    if fault := fault_of(str(part), table, SCHEMAS[table], whole=True):
        raise DamageError(line_of(part, fault))
    return pq.read_table(part, schema=SCHEMAS[table], partitioning=None)


@contextmanager
def errors_named(folder: Path) -> Iterator[None]:
    """An OSError inside is the user's to mend: one line that names the folder."""
    try:
        yield
    except OSError as error:
        raise GradflowError(f"{folder}: records cannot be written ({error})") from error


def _is_sequence(values: Any) -> bool:
    return isinstance(values, list | np.ndarray | pa.ChunkedArray | pa.Array)
