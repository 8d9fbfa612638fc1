"""A watched training's records: what it measured, in one figure and in words."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from gradflow.analysis.figures.notebook import save, target_of
from gradflow.analysis.figures.run import draw_run
from gradflow.core.errors import GradflowError
from gradflow.records import SCHEMAS, read_records
from gradflow.records.reader import parts_of, path_of


@dataclass(frozen=True)
class WatchedRun:
    """The tables of one watched run, empty frames for those it has no rows of.

    Attributes:
        settings: the user's, and the model's class.
        outcome: its row of the runs table; None while it runs, or after a death.
        attempt: its row of the attempts table; None likewise.
    """

    folder: Path
    layers: pd.DataFrame
    blocks: pd.DataFrame
    block_details: pd.DataFrame
    steps: pd.DataFrame
    scalars: pd.DataFrame
    alerts: pd.DataFrame
    settings: dict[str, str]
    outcome: dict[str, Any] | None
    attempt: dict[str, Any] | None

    @property
    def name(self) -> str:
        """The folder's."""
        return self.folder.name

    @property
    def run_id(self) -> str:
        """In the records: the folder's name when it was made."""
        return str(self.layers.run_id.iloc[0])

    @property
    def first_alerts(self) -> pd.DataFrame:
        """The first of each kind, in the order of their steps."""
        return self.alerts.drop_duplicates("kind")

    @property
    def headline(self) -> str:
        """One line: steps and the first alert, if there was one."""
        measured = self.layers.step.nunique()
        last = int(max(self.layers.step.max(), self.steps.step.max() if len(self.steps) else 0))
        line = f"{self.settings.get('model', self.name)}: {last + 1} steps, {measured} measured"
        if self.alerts.empty:
            return f"{line}; no alert"
        first = self.alerts.iloc[0]
        return f"{line}; first alert at step {first.step}: {first.text}"


def is_watched(folder: Path) -> bool:
    """Whether a folder holds one watched run."""
    return bool(parts_of(folder, "settings"))


def load_run(folder: str | Path) -> WatchedRun:
    """The records of a watched run.

    Raises:
        GradflowError: it is no folder of one, or nothing has been measured in it.
        DamageError: a file is not what was written.
    """
    path = Path(path_of(folder))
    if not is_watched(path):
        raise GradflowError(f"{path}: is no watched run; gradflow.watch(model, folder) makes one")
    if not parts_of(path, "layers"):
        raise GradflowError(f"{path}: nothing has been measured in it yet")
    settings = _table(path, "settings")
    return WatchedRun(
        folder=path,
        layers=_table(path, "layers"),
        blocks=_table(path, "blocks"),
        block_details=_table(path, "block_details"),
        steps=_table(path, "steps"),
        scalars=_table(path, "scalars"),
        alerts=_table(path, "alerts"),
        settings=dict(zip(settings.key, settings.value, strict=True)),
        outcome=_last_row(path, "runs"),
        attempt=_last_row(path, "attempts"),
    )


def _last_row(folder: Path, name: str) -> dict[str, Any] | None:
    rows = _table(folder, name)
    return None if rows.empty else {str(k): v for k, v in rows.iloc[-1].items()}


def _table(folder: Path, name: str) -> pd.DataFrame:
    if parts_of(folder, name):
        return read_records(folder, name)
    return pd.DataFrame(columns=SCHEMAS[name].names)


def plot_run(folder: str | Path, path: str | Path | None = None) -> Figure:
    """A watched run in one figure: gradient, update ratio and shortcut share by depth and step.

    Args:
        path: where to save it too; .png, .pdf or .svg.

    Raises:
        GradflowError: as `load_run`; or the path cannot be written to.
    """
    target = target_of(path)
    run = load_run(folder)
    made = draw_run(
        run.layers, run.blocks, run.block_details, run.steps, run.first_alerts, run.headline
    )
    save(made, target)
    return made
