"""The folder of a watched training: the tables of a run, with free-form settings."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import nn

from gradflow.core.door import of_path
from gradflow.core.errors import GradflowError, shown
from gradflow.core.provenance import code_version
from gradflow.records import SCHEMAS, RecordWriter
from gradflow.records.reader import path_of
from gradflow.watching.alerts import Alert

FLUSH_SECONDS = 10.0  # between part files


class RunFolder:
    """Writes a watched training's rows.

    Args:
        facts: columns of the runs table that are known from the start.
        settings: the user's, as text.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any], settings: Mapping[str, str]):
        self._writer = RecordWriter(folder, folder.name)
        self._facts, self._settings = facts, settings
        self._started = datetime.now(UTC)
        self._written = time.monotonic()
        self._diverged_at: int | None = None
        self._last_loss: float | None = None

    def begin(self) -> None:
        """Write what is known before the first step: it marks the folder as this run's."""
        self._started = datetime.now(UTC)
        keys = {"model": str(self._facts["network_name"]), **self._settings}
        self._writer.add("settings", key=list(keys), value=list(keys.values()))
        self._writer.flush()

    def add(self, table: str, rows: pa.Table) -> None:
        """Rows of one of the probes' tables."""
        columns = dict(zip(rows.column_names, rows.columns, strict=True))
        absent = set(SCHEMAS[table].names) - {"run_id", *columns}
        self._writer.add(table, **columns, **dict.fromkeys(absent))

    def steps(self, rows: Sequence[tuple[int, float, float | None]]) -> None:
        """Step, loss and learning rate of each."""
        if not rows:
            return
        steps, losses, rates = (list(column) for column in zip(*rows, strict=True))
        self._last_loss = losses[-1]
        wrong = [s for s, loss in zip(steps, losses, strict=True) if not abs(loss) < float("inf")]
        if wrong and self._diverged_at is None:
            self._diverged_at = wrong[0]
        unknown = dict.fromkeys(("epoch", "error", "grad_norm", "clipped_grad_norm"))
        self._writer.add("steps", step=steps, loss=losses, learning_rate=rates, **unknown)

    def scalars(self, rows: Sequence[tuple[int, str, float]]) -> None:
        """Step, name and value of each."""
        if rows:
            steps, names, values = (list(column) for column in zip(*rows, strict=True))
            self._writer.add("scalars", step=steps, name=names, value=values)

    def alert(self, alert: Alert) -> None:
        """One alert."""
        self._writer.add("alerts", **alert._asdict())

    def is_due(self) -> bool:
        """Whether the last parts were written some seconds ago."""
        return time.monotonic() - self._written > FLUSH_SECONDS

    def flush(self) -> None:
        """Write everything."""
        self._writer.flush()
        self._written = time.monotonic()

    def end(self, steps: int, share: float, seconds: float, error: BaseException | None) -> None:
        """The rows of attempts and runs, the latter last: it says that the run has ended."""
        from gradflow.training.origin import circumstances

        device = self._facts["device"]
        self._writer.add(
            "attempts",
            started=self._started,
            ended=datetime.now(UTC),
            wall_seconds=seconds,
            recording_share=share,
            **circumstances(device),
            resumed_from=None,
            error=None if error is None else f"{type(error).__name__}: {error}".removesuffix(": "),
            traceback=None,
        )
        self._writer.compact()
        diverged = self._diverged_at
        columns = {
            **dict.fromkeys(SCHEMAS["runs"].names[1:]),
            **self._facts,
            "status": "finished" if diverged is None else "diverged",
            "steps": steps,
            "steps_done": steps,
            "diverged_at": diverged,
            "final_train_loss": self._last_loss,
            "code_version": code_version(),
            "torch_version": str(torch.__version__),
        }
        self._writer.add("runs", **columns)
        self._writer.flush()


def facts_of(model: nn.Module) -> dict[str, Any]:
    """Columns of the runs table that a model knows."""
    device = next((p.device.type for p in model.parameters()), "cpu")
    return {
        "network_name": type(model).__name__,
        "device": device,
        "n_parameters": sum(p.numel() for p in model.parameters()),
    }


def new_folder(folder: Any) -> Path:
    """A folder for a run: a new one, or an empty one.

    Raises:
        GradflowError: it holds something already, or cannot be made.
    """
    path = Path(path_of(folder)).absolute()
    if not path.name:
        raise GradflowError(f"folder={shown(folder)}: has no name for a run")
    try:
        path.mkdir(parents=True, exist_ok=True)
        there = next(path.iterdir(), None)
    except OSError as error:
        raise GradflowError(f"folder={of_path(error)}") from error
    if there is not None:
        what = "the records of a run" if (path / "settings").exists() else there.name
        raise GradflowError(
            f"folder={shown(folder)}: holds {what} already; give a new folder, or delete it"
        )
    return path


def setting_texts(settings: Any) -> dict[str, str]:
    """Settings as text.

    Raises:
        GradflowError: they are no mapping from names.
    """
    if settings is None:
        return {}
    if not isinstance(settings, Mapping) or not all(isinstance(key, str) for key in settings):
        raise GradflowError(
            f"settings={shown(settings)}: must be name -> value, such as {{'batch': 32}}"
        )
    return {key: shown(value, 1000) for key, value in settings.items()}
