"""A study's runs in one small file, so that nobody opens ten thousand footers to know them.

The index is a copy of the rows of the `runs` tables, with the seconds that each run's attempts
took, and of nothing else: it may be deleted at any time. A row counts only as long as the table
that it was copied from is unchanged. (To make it anew takes 6 ms a run; a study that runs keeps
it up to date.)
"""

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gradflow.core.errors import GradflowError
from gradflow.records.reader import read_records, read_table
from gradflow.records.schema import SCHEMAS

INDEX = ".index.parquet"
SEEN = "seen_ns"  # when the table was last changed that a row was copied from
SECONDS = "seconds"  # in all attempts; null where none is recorded


def read_runs(folder: str | Path) -> pd.DataFrame:
    """The runs table of a study: one row for every run that has ended.

    Raises:
        GradflowError: no such folder, or no run in it has ended; says how many have begun.
    """
    folder = Path(folder)
    if not folder.is_dir() or has_ended(folder):
        return read_records(folder, "runs")
    runs = ended_runs(folder).drop(columns=SECONDS)
    if runs.empty:
        begun = len(list(folder.glob("*/config.yaml")))
        if begun:
            raise GradflowError(
                f"{folder}: none of its {begun} runs has finished; start the same study again"
            )
        return read_records(folder, "runs")  # says that there is nothing, and what makes some
    return runs


def ended_runs(folder: Path) -> pd.DataFrame:
    """As `read_runs`, with `seconds` in all attempts; empty where no run has ended."""
    times = _times(folder)
    index = _load(folder / INDEX)
    pairs = zip(index["run_id"].to_pylist(), index[SEEN].to_pylist(), strict=True)
    known = index.filter(pa.array([times.get(run) == seen for run, seen in pairs], pa.bool_()))
    if new := sorted(set(times) - set(known["run_id"].to_pylist())):
        where = {"run_id": new} if len(known) else None
        rows = read_table(folder, "runs", where=where)
        runs = rows["run_id"].to_pylist()
        spent = _seconds(folder, where)
        seen = [times.get(run) for run in runs]  # None: ended just now
        rows = rows.append_column(SECONDS, pa.array([spent.get(r) for r in runs], pa.float64()))
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


def _seconds(folder: Path, where: dict[str, Any] | None) -> dict[str, float]:
    """Run id -> seconds in all of its attempts."""
    try:
        rows = read_table(folder, "attempts", columns=["run_id", "wall_seconds"], where=where)
    except GradflowError:  # no run has any
        return {}
    sums = rows.group_by("run_id").aggregate([("wall_seconds", "sum")])
    return dict(zip(sums["run_id"].to_pylist(), sums["wall_seconds_sum"].to_pylist(), strict=True))


def _times(folder: Path) -> dict[str, int]:
    """Run id -> when its runs table was last changed."""
    runs = (Path(entry.path) for entry in os.scandir(folder))
    return {run.name: (run / "runs").stat().st_mtime_ns for run in runs if has_ended(run)}


def _load(path: Path) -> pa.Table:
    """The index; empty where there is none, or one of other columns."""
    schema = SCHEMAS["runs"]
    for name, kind in ((SECONDS, pa.float64()), (SEEN, pa.int64())):
        schema = schema.append(pa.field(name, kind))
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
