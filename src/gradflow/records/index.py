"""A study's runs in one small file, so that nobody opens ten thousand footers to know them.

The index is a copy of the rows of the `runs` tables, with the seconds that each run's attempts
took, and of nothing else: it may be deleted at any time. A row counts only as long as the files
that it was copied from are unchanged, and all of it only if its own digest is right. (To make it
anew takes 6 ms a run; a study that runs keeps it up to date.) A run whose row is damaged
is left out, and `gradflow.runs.status` names it.
"""

import contextlib
import hashlib
import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gradflow.core.errors import DamageError, GradflowError
from gradflow.core.files import atomic_file
from gradflow.records.reader import check_files, parts_of, path_of, read_records, read_table
from gradflow.records.schema import SCHEMAS
from gradflow.records.seal import fault_of, sealed

INDEX = ".index.parquet"
SEEN = "seen"  # names, sizes and times of the files that a row was copied from
SECONDS = "seconds"  # in all attempts; null where none is recorded


def read_runs(folder: str | Path) -> pd.DataFrame:
    """The runs table of a study: one row for every run that has ended.

    Raises:
        GradflowError: no such folder, or no run in it has ended; says how many have begun.
    """
    folder = path_of(folder)
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
    """As `read_runs`, with `seconds` in all attempts; empty if no run has ended."""
    files = _files(folder)
    index = _load(folder / INDEX)
    pairs = zip(index["run_id"].to_pylist(), index[SEEN].to_pylist(), strict=True)
    known = index.filter(pa.array([files.get(run) == seen for run, seen in pairs], pa.bool_()))
    unknown = sorted(set(files) - set(known["run_id"].to_pylist()))
    if new := [run for run in unknown if _is_whole(folder / run)]:
        where = {"run_id": new} if len(new) < len(files) else None
        rows = read_table(folder, "runs", where=where)
        runs = rows["run_id"].to_pylist()
        spent = _seconds(folder, new)
        seen = [files.get(run) for run in runs]  # None: ended just now
        rows = rows.append_column(SECONDS, pa.array([spent.get(r) for r in runs], pa.float64()))
        rows = rows.append_column(SEEN, pa.array(seen, pa.string()))
        known = pa.concat_tables([known, rows], promote_options="default")  # options of plugins
        known = known.sort_by("run_id")
    if new or len(known) < len(index):
        _save(known, folder / INDEX)
    frame: pd.DataFrame = known.drop_columns(SEEN).to_pandas()
    return frame


def _is_whole(run: Path) -> bool:
    try:
        check_files(parts_of(run, "runs"), "runs", whole=True)
    except GradflowError:
        return False
    return True


def has_ended(run: Path) -> bool:
    """Whether a run's folder says that the run has ended: whether its row is there."""
    try:
        return any(name.endswith(".parquet") for name in os.listdir(run / "runs"))
    except (FileNotFoundError, NotADirectoryError):
        return False


def _seconds(folder: Path, runs: list[str]) -> dict[str, float]:
    """Run id -> seconds in all of its attempts; a run without any, or of damaged ones, has none."""
    try:
        where = {"run_id": runs}
        rows = read_table(folder, "attempts", columns=["run_id", "wall_seconds"], where=where)
    except DamageError:
        if len(runs) == 1:
            return {}
        return {run: seconds for one in runs for run, seconds in _seconds(folder, [one]).items()}
    except GradflowError:  # no run has any
        return {}
    sums = rows.group_by("run_id").aggregate([("wall_seconds", "sum")])
    return dict(zip(sums["run_id"].to_pylist(), sums["wall_seconds_sum"].to_pylist(), strict=True))


def _files(folder: Path) -> dict[str, str]:
    """Run id -> names, sizes and times of the files of its runs table, if it has any, as text."""
    found = {}
    for run in os.scandir(folder):
        facts = []
        for file in sorted(parts_of(Path(run.path), "runs")):
            known = os.stat(file)
            facts.append((os.path.basename(file), known.st_size, known.st_mtime_ns, known.st_ino))
        if facts:
            found[run.name] = hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
    return found


def _load(path: Path) -> pa.Table:
    """The index; empty if there is none, or one that is damaged or lacks columns.

    It may have more: options of plugins that this process has not imported.
    """
    schema = SCHEMAS["runs"]
    for name, kind in ((SECONDS, pa.float64()), (SEEN, pa.string())):
        schema = schema.append(pa.field(name, kind))
    try:
        if fault_of(str(path), "index", schema, whole=True):
            return schema.empty_table()
        table = pq.read_table(path, partitioning=None)
    except (OSError, GradflowError, pa.ArrowException):
        return schema.empty_table()
    own = table.select([name for name in schema.names if name in table.column_names])
    return table if own.schema.equals(schema) else schema.empty_table()


def _save(rows: pa.Table, path: Path) -> None:
    # A folder that is only read, or a full disk: the rows are known all the same.
    with contextlib.suppress(OSError), atomic_file(path) as file:
        file.write(sealed(rows))
