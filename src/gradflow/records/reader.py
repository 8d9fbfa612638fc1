"""Reading records back as pandas frames."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from gradflow.config.registry import GROUPS
from gradflow.config.validation import typed
from gradflow.core.errors import DamageError, GradflowError, shown
from gradflow.records.diagnostic_schema import diagnostic_schemas
from gradflow.records.schema import DERIVED, SCHEMAS
from gradflow.records.seal import MISSING, SURPLUS, fault_of, line_of, parts_listed
from gradflow.records.writer import APART, REPLACED

Found = TypeVar("Found")
ATTEMPTS = 5  # at reading files that a run, compacting its parts, takes away meanwhile


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
        table: such as "layers"; `gradflow.records.SCHEMAS` lists the tables' columns, and
            `DERIVED` those that are computed from them: "relative_update", "grad_state".
        columns: those to read; all where None, of runs with plugins also their options.
        where: column -> the value, or the list of values, that rows must have; rows that
            do not match are never read from disk.

    Raises:
        GradflowError: no such folder, table or column, or no records in the folder.
        DamageError: a file is not what was written; the line names it.
    """
    frame: pd.DataFrame = read_table(folder, table, columns=columns, where=where).to_pandas()
    return frame


def read_table(
    folder: str | Path,
    table: str,
    *,
    columns: Sequence[str] | None = None,
    where: Mapping[str, Any] | None = None,
) -> pa.Table:
    """As `read_records`, but an Arrow table."""
    schema = schema_of(table)
    path = path_of(folder)
    if not isinstance(where, Mapping | None):
        raise GradflowError(f"where={shown(where)}: must be column -> value, such as {{'step': 0}}")
    derived = DERIVED.get(table, {})
    names = columns or [*schema.names, *derived]
    check_columns(table, names, [*schema.names, *derived])
    check_columns(table, list(where or ()), schema.names)
    stored = list(dict.fromkeys(c for name in names for c in derived.get(name, (name,))))
    wanted = None
    for name, value in (where or {}).items():
        match = ds.field(name).isin(_values(table, name, value))
        wanted = match if wanted is None else wanted & match

    def query(data: ds.Dataset) -> pa.Table:
        foreign = _foreign(data) if table == "runs" and columns is None else []
        whole = data.replace_schema(pa.schema([*data.schema, *foreign])) if foreign else data
        return whole.to_table(columns=[*stored, *(f.name for f in foreign)], filter=wanted)

    rows = read_files(lambda: part_files(path, table, where), query, table)
    names = [*names, *(name for name in rows.column_names if name not in schema.names)]
    for name in names:
        if name in derived:
            rows = rows.append_column(name, _DERIVE[name](rows))
    return rows.select(names)


def _foreign(runs: ds.Dataset) -> list[pa.Field]:
    """The options of plugins that this process has not imported, by the files of a runs table."""
    known, groups = set(runs.schema.names), tuple(f"{group}_" for group in GROUPS)
    found: dict[str, pa.Field] = {}
    for file in runs.files:
        there = pq.read_schema(file)
        if "plugins" in there.names:  # else of an older version: no option, but one that is gone
            new = [f for f in there if f.name.startswith(groups) and f.name not in known]
            found |= {field.name: field for field in new}
    return list(found.values())


def _grad_state(rows: pa.Table) -> pa.Array:
    norm = rows["grad_norm"]
    return pc.case_when(
        pc.make_struct(pc.is_null(norm), pc.is_nan(norm), pc.is_inf(norm)),
        "none",
        "nan",
        "inf",
        "finite",
    )


_DERIVE: dict[str, Callable[[pa.Table], Any]] = {
    "relative_update": lambda rows: pc.divide(rows["update_norm"], rows["weight_norm"]),
    "grad_state": _grad_state,
}


def path_of(folder: Any) -> Path:
    """A folder as a path.

    Raises:
        GradflowError: it is neither text nor a path, or no path can be so.
    """
    try:
        path = Path(folder)
        path.exists()
    except (TypeError, ValueError, OSError) as error:  # a NUL, a name that is too long
        reason = getattr(error, "strerror", None) or error
        raise GradflowError(f"folder={shown(folder)}: must be a path ({reason})") from error
    return path


def schema_of(table: str) -> pa.Schema:
    """A table's schema.

    Raises:
        GradflowError: there is no such table.
    """
    if not isinstance(table, str) or table not in SCHEMAS:
        raise GradflowError(f"table={shown(table)}: choose one of {', '.join(SCHEMAS)}")
    return SCHEMAS[table]


def check_columns(
    table: str, names: Sequence[str], valid: Sequence[str], what: str = "column"
) -> None:
    """Raise a GradflowError for the first of `names` that is not valid."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise GradflowError(f"{table}: {what}s={shown(names)}: must be a list of names")
    for name in names:
        if name not in valid:
            raise GradflowError(f"{table}.{shown(name)}: no such {what}; valid: {', '.join(valid)}")


def _values(table: str, name: str, value: Any) -> pa.Array:
    kind = SCHEMAS[table].field(name).type
    values = value if isinstance(value, list) else [value]
    try:
        # Arrow would make 0 of 0.5, and 1 of true.
        asked = [None if one is None else _exact(one, kind) for one in values]
        return pa.array(asked, kind)
    except (pa.ArrowException, ValueError, OverflowError, TypeError) as error:
        raise GradflowError(
            f"where {table}.{name}={shown(value)}: not a value of type {kind}"
        ) from error


def _exact(value: Any, kind: pa.DataType) -> Any:
    """A value for comparison with a column; NumPy's as Python's.

    Raises:
        ValueError: no value of the column can equal it.
    """
    if pa.types.is_floating(kind):
        return value if isinstance(value, float) else typed(value, float)  # NaN, Inf are records
    for is_kind, hint in _HINTS.items():
        if is_kind(kind):
            return typed(value, hint)
    return value


_HINTS = {pa.types.is_integer: int, pa.types.is_boolean: bool, pa.types.is_string: str}


def part_files(folder: Path, table: str, where: Mapping[str, Any] | None = None) -> list[str]:
    """The part files of a table in a run's or a study's folder.

    Of a study only the runs that `where` names: a run's folder has its id for a name.
    """
    if not folder.is_dir():
        raise GradflowError(
            f"{folder}: no such folder; give a study's, such as outputs/degradation"
        )
    wanted = (where or {}).get("run_id")
    runs = [folder / name for name in ([wanted] if isinstance(wanted, str) else wanted or ())]
    if parts_of(folder, table) or parts_of(folder, "runs"):
        runs = [folder]
    elif not runs or not all(map(os.path.isdir, runs)):
        runs = [Path(entry.path) for entry in os.scandir(folder)]
    files = [file for run in runs for file in _parts_as_ended(run, table)]
    if not files:
        raise GradflowError(
            f"{folder}: holds no {table} records; gradflow study degradation makes some"
        )
    return sorted(files)


def parts_of(run: Path, table: str) -> list[str]:
    """The part files of a table in a run's folder, in any order; none if it has none."""
    # While a table's parts are compacted they have the second name for an instant. Once the
    # first is there again they are being deleted: a listing of them may lack some, and one of
    # a folder that was opened under the first name may be empty.
    for name in (table, table + REPLACED, table):
        try:
            files = [e.path for e in os.scandir(run / name) if e.name.endswith(".parquet")]
        except (FileNotFoundError, NotADirectoryError):
            continue
        if files and (name == table or not (run / table).exists()):
            return files
    return []


def _parts_as_ended(run: Path, table: str) -> list[str]:
    """`parts_of`, if a run that has ended has those of the table that it ended with.

    One more, such as of a folder copied over another, would double rows; one less would lose some.

    Raises:
        DamageError: it has not; the line names a part.
    """
    # Its end is looked for first: the parts of a run that ends between the two are compacted.
    ends = [] if table in APART or table in diagnostic_schemas() else parts_of(run, "runs")
    files = parts_of(run, table)
    for ended in ends:
        try:
            if fault_of(ended, "runs", SCHEMAS["runs"], whole=False):
                continue  # its own readers name it
            parts = parts_listed(ended)
        except FileNotFoundError:
            continue  # it is being trained again
        here = {f"{table}/{os.path.basename(file)}" for file in files}
        listed = {name for name in parts or here if name.startswith(f"{table}/")}
        for name in sorted(here ^ listed):
            fault = MISSING if name in listed else SURPLUS
            raise DamageError(line_of(run / name, fault))
    return files


FORMAT = ds.ParquetFileFormat(
    default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
)


def read_files(
    files_of: Callable[[], list[str]], query: Callable[[ds.Dataset], pa.Table], table: str
) -> pa.Table:
    """`query` of the files as they are; once more where one was compacted away meanwhile.

    Raises:
        DamageError: a file is not what was written.
    """
    schema = schema_of(table)
    for attempt in range(ATTEMPTS):
        files = files_of()
        try:
            check_files(files, table, whole=False)
            return query(ds.dataset(files, schema=schema, format=FORMAT))
        except FileNotFoundError:
            if attempt == ATTEMPTS - 1:
                raise
        except (pa.ArrowException, OSError):
            # The failing scan does not say which file it was in, or whether in any.
            check_files(files, table, whole=True)
            raise
    raise AssertionError


def check_files(files: Sequence[str], table: str, *, whole: bool) -> None:
    """Raise DamageError for the first part file of a table that is not what was written."""
    schema = schema_of(table)
    for file in files:
        if fault := fault_of(file, table, schema, whole=whole):
            raise DamageError(line_of(file, fault))
