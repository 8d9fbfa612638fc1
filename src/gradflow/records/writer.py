"""Crash-safe writing: whole part files or nothing."""

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gradflow.errors import GradflowError
from gradflow.records.schema import SCHEMAS


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
            if not _is_sequence(values):
                values = [values] * length
            arrays.append(pa.array(values, type=entry.type))
        self._buffers.setdefault(table, []).append(pa.table(arrays, schema=schema))

    def flush(self) -> None:
        """Write everything buffered, one part a table.

        Raises:
            GradflowError: the disk is full or the folder cannot be written to.
        """
        for table, chunks in self._buffers.items():
            rows = pa.concat_tables(chunks)
            if rows.num_rows:
                self._write_part(self.folder / table, rows)
        self._buffers.clear()

    def _write_part(self, folder: Path, rows: pa.Table) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"part-{len(list(folder.glob('part-*.parquet'))):05d}.parquet"
            partial = path.with_suffix(".tmp")
            floats = [field.name for field in rows.schema if pa.types.is_floating(field.type)]
            texts = [field.name for field in rows.schema if pa.types.is_string(field.type)]
            with open(partial, "wb") as file:
                pq.write_table(
                    rows,
                    file,
                    compression="zstd",
                    use_dictionary=texts,
                    use_byte_stream_split=floats,
                )
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except OSError as error:
            raise GradflowError(f"{folder}: records cannot be written ({error})") from error


def _is_sequence(values: Any) -> bool:
    return isinstance(values, list | np.ndarray)
