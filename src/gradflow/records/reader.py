"""Reading records back as pandas frames."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.acero as acero
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from gradflow.errors import GradflowError
from gradflow.records.schema import DERIVED, SCHEMAS
from gradflow.records.writer import REPLACED

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
        columns: those to read; all where None.
        where: column -> the value, or the list of values, that rows must have; rows that
            do not match are never read from disk.

    Raises:
        GradflowError: no such folder, table or column, or no records in the folder.
    """
    schema = _schema(table)
    derived = DERIVED.get(table, {})
    names = list(columns) if columns else [*schema.names, *derived]
    _check(table, names, [*schema.names, *derived])
    _check(table, list(where or ()), schema.names)
    stored = list(dict.fromkeys(c for name in names for c in derived.get(name, (name,))))
    wanted = None
    for name, value in (where or {}).items():
        match = ds.field(name).isin(_values(table, name, value))
        wanted = match if wanted is None else wanted & match
    rows = _read(
        lambda: _part_files(Path(folder), table, where),
        lambda data: data.to_table(columns=stored, filter=wanted),
        schema,
    )
    for name in names:
        if name in derived:
            rows = rows.append_column(name, _DERIVE[name](rows))
    frame: pd.DataFrame = rows.select(names).to_pandas()
    return frame


def read_means(folder: str | Path, table: str, value: str, by: Sequence[str]) -> pd.DataFrame:
    """The mean of a column over all rows of a study that agree in `by`: a row a group.

    For tables too long for a frame: rows are averaged while they are read. Nulls are left
    out; Inf and NaN are not.

    Args:
        value: a numeric column of the table, such as "grad_norm".
        by: columns of the table or of the runs table, such as
            ["layer_index", "network_depth", "network_skip"]. With a column of the runs
            table, runs that have not ended are left out.

    Returns:
        The columns `by`, then "mean" and "count" (of the values).

    Raises:
        GradflowError: as `read_records`.
    """
    schema = _schema(table)
    numbers = [
        f.name for f in schema if pa.types.is_integer(f.type) or pa.types.is_floating(f.type)
    ]
    _check(table, [value], numbers, "numeric column")
    _check(table, list(by), [*schema.names, *SCHEMAS["runs"].names])
    of_run = [name for name in by if name not in schema.names]
    keys = list(dict.fromkeys([*(n for n in by if n in schema.names), *["run_id"][: len(of_run)]]))
    # A group without values sums to 0, so that pandas may keep NaN where it adds up the sums.
    zero = pc.ScalarAggregateOptions(min_count=0)
    aggregates = [(value, "hash_sum", zero, "sum"), (value, "hash_count", None, "count")]

    def aggregate(data: ds.Dataset) -> pa.Table:
        columns = {name: pc.field(name) for name in [*keys, value]}
        project = acero.ProjectNodeOptions([*columns.values()], [*columns])
        return acero.Declaration.from_sequence(
            [
                acero.Declaration("scan", acero.ScanNodeOptions(data, columns=columns)),
                acero.Declaration("project", project),
                acero.Declaration("aggregate", acero.AggregateNodeOptions(aggregates, keys=keys)),
            ]
        ).to_table()

    groups = _read(lambda: _part_files(Path(folder), table), aggregate, schema).to_pandas()
    if of_run:
        runs = read_records(folder, "runs", columns=["run_id", *of_run])
        groups = groups.merge(runs, on="run_id")
    sums = groups.groupby(list(by), dropna=False)[["sum", "count"]].sum(skipna=False).reset_index()
    means: pd.DataFrame = sums.assign(mean=sums["sum"] / sums["count"])
    return means[[*by, "mean", "count"]]


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


def _schema(table: str) -> pa.Schema:
    if table not in SCHEMAS:
        raise GradflowError(f"table={table}: choose one of {', '.join(SCHEMAS)}")
    return SCHEMAS[table]


def _check(table: str, names: Sequence[str], valid: Sequence[str], what: str = "column") -> None:
    for name in names:
        if name not in valid:
            raise GradflowError(f"{table}.{name}: no such {what}; valid: {', '.join(valid)}")


def _values(table: str, name: str, value: Any) -> pa.Array:
    kind = SCHEMAS[table].field(name).type
    try:
        return pa.array(value if isinstance(value, list) else [value], kind)
    except pa.ArrowException as error:
        raise GradflowError(f"where {table}.{name}={value}: not a value of type {kind}") from error


def _part_files(folder: Path, table: str, where: Mapping[str, Any] | None = None) -> list[str]:
    """The part files of a table in a run's or a study's folder.

    Of a study only the runs that `where` names: a run's folder has its id for a name.
    """
    if not folder.is_dir():
        raise GradflowError(
            f"{folder}: no such folder; give a study's, such as outputs/degradation"
        )
    wanted = (where or {}).get("run_id")
    runs = [folder / name for name in ([wanted] if isinstance(wanted, str) else wanted or ())]
    if files := _parts(folder, table):
        return sorted(files)
    if not runs or not all(run.is_dir() for run in runs):
        runs = [Path(entry.path) for entry in os.scandir(folder)]
    files = [file for run in runs for file in _parts(run, table)]
    if not files:
        raise GradflowError(
            f"{folder}: holds no {table} records; "
            "python experiments/train.py study=degradation makes some"
        )
    return sorted(files)


def _parts(run: Path, table: str) -> list[str]:
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


def _read(
    files_of: Callable[[], list[str]], query: Callable[[ds.Dataset], pa.Table], schema: pa.Schema
) -> pa.Table:
    """`query` of the files as they are; once more where one was compacted away meanwhile."""
    for attempt in range(ATTEMPTS):
        files = files_of()
        try:
            return query(ds.dataset(files, schema=schema, format="parquet"))
        except FileNotFoundError:
            if attempt == ATTEMPTS - 1:
                raise
        except (pa.ArrowException, OSError) as error:
            # The failing scan does not say which file it was in, or whether in any.
            broken = next((f for f in files if not _readable(f)), None)
            if broken is None:
                raise
            raise GradflowError(
                f"{broken}: not a readable parquet file; delete its run's folder and run again"
            ) from error
    raise AssertionError


def _readable(file: str) -> bool:
    try:
        pq.ParquetFile(file).scan_contents()
    except (pa.ArrowException, OSError):
        return False
    return True
