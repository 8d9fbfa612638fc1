"""A diagnosis of a run that has ended: freeze the network, measure, record."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from gradflow.config import RunConfig
from gradflow.config.diagnostics import DiagnosticConfig
from gradflow.config.registry import function_of
from gradflow.config.run_id import diagnostic_id, settings_of
from gradflow.core.progress import tell
from gradflow.core.provenance import code_version
from gradflow.data.dataset import Dataset
from gradflow.records import RecordWriter, cut_rows, pending, read_records
from gradflow.training.frozen import freeze
from gradflow.training.torch_settings import weights_dtype

Tables = dict[str, dict[str, list[Any]]]


def diagnose(config: RunConfig, folder: Path, dataset: Dataset) -> bool:
    """Measure what `config.diagnostic` names on the run in `folder`; False if all was there.

    What has been measured with the same options is not measured again. What was interrupted
    resumes behind the parts that were saved (the landscape, under the same code), or restarts. A
    line says if other code trained the network.

    Raises:
        GradflowError: the diagnostic does not fit the network; nothing is recorded then.
    """
    todo = pending(folder, config.diagnostic)
    if any(todo):
        [trained_by] = read_records(folder, "runs", columns=["code_version"]).code_version
        if trained_by != code_version():
            tell(f"{folder}: trained by code {trained_by}, diagnosed by code {code_version()}")
    for trained in todo:
        _diagnose_once(config, folder, dataset, trained=trained)
    return bool(todo)


def _diagnose_once(config: RunConfig, folder: Path, dataset: Dataset, *, trained: bool) -> None:
    diagnostic = config.diagnostic
    dtype = torch.float64 if diagnostic.EXACT else weights_dtype(config)
    frozen = freeze(config, diagnostic, folder, dataset, trained=trained, dtype=dtype)
    key = {
        "diagnostic_id": diagnostic_id(diagnostic),
        "step": config.steps if trained else 0,
    }
    measure = function_of(diagnostic)
    code = code_version("diagnosis")
    with RecordWriter(folder, folder.name) as writer:
        if diagnostic.PART:
            parts: Iterable[Tables] = measure(
                frozen, diagnostic, _saved(folder, diagnostic, key, code)
            )
        else:
            parts = [measure(frozen, diagnostic)]
        for tables in parts:
            _check(diagnostic, tables)
            for table, columns in tables.items():
                if not diagnostic.PART:  # rows of a process that was killed while it wrote them
                    cut_rows(folder, table, key)
                by = {"code_version": code} if diagnostic.PART else {}
                writer.add(table, **key, **by, **columns)
            writer.flush()
        # This row says that the diagnosis is whole, so it is written after all others.
        writer.add("diagnoses", **key, **settings_of(diagnostic), code_version=code)
        writer.compact()


def _check(diagnostic: DiagnosticConfig, tables: Tables) -> None:
    """Refuse rows of a table or of columns that the diagnostic does not declare."""
    for table, columns in tables.items():
        declared = diagnostic.TABLES.get(table, {})
        if odd := sorted(set(columns) ^ set(declared)):
            diagnostic.refuse("name", f"table {table}: missing or undeclared {', '.join(odd)}")


def _saved(
    folder: Path, diagnostic: DiagnosticConfig, key: dict[str, Any], code: str
) -> set[tuple[Any, ...]]:
    """The parts that an interrupted process left; those of other code go."""
    [table] = diagnostic.TABLES
    if not list(folder.glob(f"{table}/*.parquet")):
        return set()
    part = list(diagnostic.PART)
    rows = read_records(folder, table, columns=[*part, "code_version"], where=key)
    if not (rows.code_version == code).all():
        cut_rows(folder, table, key)
        return set()
    return set(rows[part].itertuples(index=False, name=None))
