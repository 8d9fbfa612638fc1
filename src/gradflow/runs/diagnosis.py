"""A diagnosis of a run that has ended: freeze the network, measure, record."""

import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from gradflow.config import RunConfig
from gradflow.config.diagnostics import DiagnosticConfig
from gradflow.config.registry import function_of
from gradflow.config.run_id import diagnostic_id, settings_of
from gradflow.core.errors import DamageError, GradflowError
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

    A diagnosis that fails, by a refusal or by any other error, leaves its reason in the table
    failed_diagnoses, and does not keep the other one from being made.

    Raises:
        DamageError: a file of the run is damaged.
        GradflowError: a diagnosis failed, with the reason in one line.
    """
    todo = pending(folder, config.diagnostic)
    if any(todo):
        [trained_by] = read_records(folder, "runs", columns=["code_version"]).code_version
        if trained_by != code_version():
            tell(f"{folder}: trained by code {trained_by}, diagnosed by code {code_version()}")
    failures: dict[str, list[str]] = {}  # reason -> of which weights
    for trained in todo:
        try:
            _diagnose_once(config, folder, dataset, trained=trained)
        except DamageError:  # no fault of the diagnosis, and nothing to record beside damage
            raise
        except Exception as error:  # whatever it was, it is of this run alone
            reason = _record_failure(config, folder, error, trained=trained)
            failures.setdefault(reason, []).append("trained" if trained else "as drawn")
    if failures:
        failed = (f"of the network {' and '.join(of)}: {reason}" for reason, of in failures.items())
        raise GradflowError(f"{folder}: {config.diagnostic.name} {'; '.join(failed)}")
    return bool(todo)


def _record_failure(config: RunConfig, folder: Path, error: Exception, *, trained: bool) -> str:
    """Put the reason into the records; it in one line."""
    reason = " ".join(str(error).split())
    if not isinstance(error, GradflowError):
        reason = f"{type(error).__name__}: {reason}; its traceback is in failed_diagnoses"
    key = _key(config, trained=trained)
    cut_rows(folder, "failed_diagnoses", key)
    with RecordWriter(folder, folder.name) as writer:
        writer.add(
            "failed_diagnoses",
            **key,
            **settings_of(config.diagnostic),
            code_version=code_version("diagnosis"),
            error=f"{type(error).__name__}: {error}",
            traceback="".join(traceback.format_exception(error)),
        )
    return reason


def _key(config: RunConfig, *, trained: bool) -> dict[str, Any]:
    """The columns by which a diagnosis's rows are known."""
    return {
        "diagnostic_id": diagnostic_id(config.diagnostic),
        "step": config.steps if trained else 0,
    }


def _diagnose_once(config: RunConfig, folder: Path, dataset: Dataset, *, trained: bool) -> None:
    diagnostic = config.diagnostic
    dtype = torch.float64 if diagnostic.EXACT else weights_dtype(config)
    frozen = freeze(config, diagnostic, folder, dataset, trained=trained, dtype=dtype)
    key = _key(config, trained=trained)
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
    cut_rows(folder, "failed_diagnoses", key)


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
