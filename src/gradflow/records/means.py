"""Averages over tables that are too long for a frame."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.acero as acero
import pyarrow.compute as pc
import pyarrow.dataset as ds

from gradflow.core.errors import GradflowError
from gradflow.records.index import read_runs
from gradflow.records.reader import check_columns, part_files, path_of, read_files, schema_of
from gradflow.records.schema import SCHEMAS


def read_means(
    folder: str | Path,
    table: str,
    value: str,
    by: Sequence[str],
    runs: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The mean of a column over all rows of a study that agree in `by`: a row a group.

    For tables too long for a frame: rows are averaged while they are read. Nulls are left
    out; Inf and NaN are not.

    Args:
        value: a numeric column of the table, such as "grad_norm".
        by: columns of the table or of the runs table, such as
            ["layer_index", "network_depth", "network_skip"]. With a column of the runs
            table, runs that have not ended are left out.
        runs: ids of the study's runs whose rows count; all if None.

    Returns:
        The columns `by`, then "mean" and "count" (of the values).

    Raises:
        GradflowError: as `read_records`.
    """
    path = path_of(folder)
    schema = schema_of(table)
    numbers = [
        f.name for f in schema if pa.types.is_integer(f.type) or pa.types.is_floating(f.type)
    ]
    check_columns(table, [value], numbers, "numeric column")
    check_columns(table, by, [*schema.names, *SCHEMAS["runs"].names])
    if not by:
        raise GradflowError("by=[]: name at least one column, such as ['layer_index']")
    of_run = [name for name in by if name not in schema.names]
    keys = list(dict.fromkeys([*(n for n in by if n in schema.names), *["run_id"][: len(of_run)]]))
    # A group without values sums to 0, so that NaN is of a value wherever it is.
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

    where = None if runs is None else {"run_id": list(runs)}
    groups = read_files(lambda: part_files(path, table, where), aggregate, table).to_pandas()
    if of_run:
        groups = groups.merge(read_runs(folder)[["run_id", *of_run]], on="run_id")
    groups = groups.assign(nans=groups["sum"].isna())  # which pandas leaves out of a sum
    sums = groups.groupby(list(by), dropna=False)[["sum", "count", "nans"]].sum().reset_index()
    known = sums["sum"].where(sums["nans"] == 0)
    means: pd.DataFrame = sums.assign(mean=known / sums["count"])
    return means[[*by, "mean", "count"]]
