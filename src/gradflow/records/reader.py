"""Reading records back as pandas frames."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from gradflow.errors import GradflowError
from gradflow.records.schema import SCHEMAS


def read_records(
    folder: str | Path,
    table: str,
    *,
    columns: Sequence[str] | None = None,
    where: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """One table of a run folder, or of every run of a study folder, as a frame.

    Args:
        folder: a run's folder or a study's.
        table: such as "layers"; `gradflow.records.SCHEMAS` lists the tables' columns.
        columns: those to read; all where None.
        where: column -> the value, or the list of values, that rows must have; rows that
            do not match are never read from disk.

    Raises:
        GradflowError: no such folder, table or column, or no records in the folder.
    """
    if table not in SCHEMAS:
        raise GradflowError(f"table={table}: choose one of {', '.join(SCHEMAS)}")
    schema = SCHEMAS[table]
    for name in [*(columns or ()), *(where or ())]:
        if name not in schema.names:
            raise GradflowError(f"{table}.{name}: no such column; valid: {', '.join(schema.names)}")
    files = _part_files(Path(folder), table)
    wanted = None
    for name, value in (where or {}).items():
        match = ds.field(name).isin(value if isinstance(value, list) else [value])
        wanted = match if wanted is None else wanted & match
    try:
        rows = ds.dataset(files, schema=schema, format="parquet").to_table(
            columns=list(columns) if columns else None, filter=wanted
        )
    except pa.ArrowException as error:
        # The failing scan does not say which file it was in.
        broken = next((f for f in files if not _opens(f)), files[0])
        raise GradflowError(
            f"{broken}: not a readable parquet file; delete its run's folder and run again"
        ) from error
    frame: pd.DataFrame = rows.to_pandas()
    return frame


def read_runs(folder: str | Path) -> pd.DataFrame:
    """The runs table of a study: one row for every run that has ended.

    Raises:
        GradflowError: no such folder, or no run in it has ended; says how many have begun.
    """
    try:
        return read_records(folder, "runs")
    except GradflowError as error:
        begun = len(list(Path(folder).glob("*/config.yaml")))
        if begun:
            raise GradflowError(
                f"{folder}: none of its {begun} runs has finished; start the same study again"
            ) from error
        raise


def _part_files(folder: Path, table: str) -> list[str]:
    if not folder.is_dir():
        raise GradflowError(
            f"{folder}: no such folder; give a study's, such as outputs/degradation"
        )
    files = sorted([*folder.glob(f"{table}/*.parquet"), *folder.glob(f"*/{table}/*.parquet")])
    if not files:
        raise GradflowError(
            f"{folder}: holds no {table} records; "
            "python experiments/train.py study=degradation makes some"
        )
    return [str(file) for file in files]


def _opens(file: str) -> bool:
    try:
        pq.read_metadata(file)
    except pa.ArrowException:
        return False
    return True
