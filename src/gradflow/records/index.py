"""A study's runs in one small file, so that nobody opens ten thousand footers to know them.

The index is a copy of the rows of the `runs` tables and of nothing else: it may be deleted at
any time. A row counts only as long as the table that it was copied from is unchanged.
"""

import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gradflow.errors import GradflowError
from gradflow.records.reader import read_records, read_table
from gradflow.records.schema import SCHEMAS

INDEX = ".index.parquet"
SEEN = "seen_ns"  # when the table was last changed that a row was copied from


def read_runs(folder: str | Path) -> pd.DataFrame:
    """The runs table of a study: one row for every run that has ended.

    Raises:
        GradflowError: no such folder, or no run in it has ended; says how many have begun.
    """
    folder = Path(folder)
    if not folder.is_dir() or has_ended(folder):
        return read_records(folder, "runs")
    runs = ended_runs(folder)
    if runs.empty:
        begun = len(list(folder.glob("*/config.yaml")))
        if begun:
            raise GradflowError(
                f"{folder}: none of its {begun} runs has finished; start the same study again"
            )
        return read_records(folder, "runs")  # says that there is nothing, and what makes some
    return runs


def ended_runs(folder: Path) -> pd.DataFrame:
    """As `read_runs`, but empty where no run has ended."""
    times = _times(folder)
    index = _load(folder / INDEX)
    pairs = zip(index["run_id"].to_pylist(), index[SEEN].to_pylist(), strict=True)
    known = index.filter(pa.array([times.get(run) == seen for run, seen in pairs], pa.bool_()))
    if new := sorted(set(times) - set(known["run_id"].to_pylist())):
        rows = read_table(folder, "runs", where={"run_id": new} if len(known) else None)
        seen = [times.get(run) for run in rows["run_id"].to_pylist()]  # None: ended just now
        known = pa.concat_tables([known, rows.append_column(SEEN, pa.array(seen, pa.int64()))])
        known = known.sort_by("run_id")
    if new or len(known) < len(index):
        _save(known, folder / INDEX)
    frame: pd.DataFrame = known.drop_columns(SEEN).to_pandas()
    return frame


def has_ended(run: Path) -> bool:
    """Whether a run's folder says that the run has ended: whether its row is there."""
    try:
        return any(name.endswith(".parquet") for name in os.listdir(run / "runs"))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _times(folder: Path) -> dict[str, int]:
    """Run id -> when its runs table was last changed."""
    runs = (Path(entry.path) for entry in os.scandir(folder))
    return {run.name: (run / "runs").stat().st_mtime_ns for run in runs if has_ended(run)}


def _load(path: Path) -> pa.Table:
    """The index; empty where there is none, or one of other columns."""
    schema = SCHEMAS["runs"].append(pa.field(SEEN, pa.int64()))
    try:
        table = pq.read_table(path, partitioning=None)
    except (FileNotFoundError, pa.ArrowException):
        return schema.empty_table()
    return table if table.schema.equals(schema) else schema.empty_table()


def _save(rows: pa.Table, path: Path) -> None:
    partial = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        pq.write_table(rows, partial, compression="zstd")
        os.replace(partial, path)
    except OSError:  # a folder that is only read, or a full disk: the rows are known all the same
        partial.unlink(missing_ok=True)
