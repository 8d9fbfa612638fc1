"""A diagnosis of a run that has ended: freeze the network, measure, record."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from gradflow.config import RunConfig
from gradflow.config.run_id import diagnostic_id, settings_of
from gradflow.core.progress import tell
from gradflow.core.provenance import code_version
from gradflow.data.dataset import Dataset
from gradflow.diagnostics.curvature import diagnose_curvature
from gradflow.diagnostics.frozen import Frozen, freeze
from gradflow.diagnostics.identity import diagnose_identity
from gradflow.diagnostics.jacobian import diagnose_jacobian
from gradflow.diagnostics.landscape import diagnose_landscape
from gradflow.diagnostics.lesion import diagnose_lesion
from gradflow.diagnostics.paths import diagnose_paths
from gradflow.diagnostics.shattering import diagnose_shattering
from gradflow.records import RecordWriter, cut_rows, pending, read_records
from gradflow.training.torch_settings import weights_dtype

Tables = dict[str, dict[str, list[Any]]]

WHOLE: dict[str, Callable[[Frozen, Any], Tables]] = {
    "shattering": diagnose_shattering,
    "jacobian": diagnose_jacobian,
    "paths": diagnose_paths,
    "lesion": diagnose_lesion,
    "curvature": diagnose_curvature,
    "identity": diagnose_identity,
}
"""Diagnostics whose rows are all there or none; the landscape is saved line by line."""

EXACT = ("shattering", "jacobian", "paths")  # in float64, whatever the run was trained in


def diagnose(config: RunConfig, folder: Path, dataset: Dataset) -> bool:
    """Measure what `config.diagnostic` names on the run in `folder`; False if all was there.

    What has been measured with the same options is not measured again; what was begun and
    interrupted is resumed (the landscape, under the same code) or starts again. A line says if
    other code trained the network.

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
    exact = diagnostic.name in EXACT
    dtype = torch.float64 if exact else weights_dtype(config)
    frozen = freeze(config, diagnostic, folder, dataset, trained=trained, dtype=dtype)
    key = {
        "diagnostic_id": diagnostic_id(diagnostic),
        "step": config.steps if trained else 0,
    }
    code = code_version("diagnosis")
    with RecordWriter(folder, folder.name) as writer:
        if diagnostic.name == "landscape":
            done = _saved(folder, key, code)

            def save(rows: dict[str, list[Any]]) -> None:
                writer.add("landscape", **key, code_version=code, **rows)
                writer.flush()

            diagnose_landscape(frozen, diagnostic, done, save)  # type: ignore[arg-type]
        else:
            tables = WHOLE[diagnostic.name](frozen, diagnostic)
            for table, columns in tables.items():
                cut_rows(folder, table, key)  # of a process that was killed while it wrote them
                writer.add(table, **key, **columns)
        writer.flush()
        # This row says that the diagnosis is whole, so it is written after all others.
        writer.add("diagnoses", **key, **settings_of(diagnostic), code_version=code)
        writer.compact()


def _saved(folder: Path, key: dict[str, Any], code: str) -> set[tuple[str, float]]:
    """The lines of a landscape that an interrupted process left; those of other code go."""
    if not list(folder.glob("landscape/*.parquet")):
        return set()
    rows = read_records(folder, "landscape", columns=["surface", "y", "code_version"], where=key)
    if not (rows.code_version == code).all():
        cut_rows(folder, "landscape", key)
        return set()
    return set(zip(rows.surface, rows.y, strict=True))
