"""What has become of each run of a study, read from its folder alone.

missing      planned, and nothing done yet
running      a process works on it now
interrupted  stopped or killed; resumes from its checkpoint
pruned       stopped by a search, as others did better; would resume likewise
failed       ended by an error, or what says how it ended is damaged; would be tried again
finished, diverged   ended; a diverged run is a result too
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from gradflow.config.run_id import run_name
from gradflow.config.saved import read_config
from gradflow.core.errors import DamageError, GradflowError
from gradflow.core.locks import is_running
from gradflow.core.provenance import code_version
from gradflow.records import SCHEMAS, ended_runs, has_ended, read_records
from gradflow.records.damage import config_damage, damage_of, moved_aside
from gradflow.records.reader import parts_of

ENDED = ("finished", "diverged")
CONFIG = "config.yaml"
ONLY_WATCHED = "holds watched runs and no study; gradflow report makes the page of one of them"


def disk_use(folder: Path) -> int:
    """Bytes of the files in a folder and below it."""
    total = 0
    with suppress(FileNotFoundError):  # compacted away meanwhile
        for entry in os.scandir(folder):
            below = entry.is_dir(follow_symlinks=False)
            size = entry.stat(follow_symlinks=False).st_size
            total += disk_use(Path(entry.path)) if below else size
    return total


def state_of(folder: Path) -> str:
    """One of the words above for one run's folder, which need not exist."""
    if has_ended(folder):
        try:
            status: str = read_records(folder, "runs", columns=["status"]).status[0]
        except DamageError:
            return "failed"
        return status
    return _unfinished_state(folder)[0]


def study_states(folder: Path) -> pd.DataFrame:
    """A row per run of a study, planned or begun, deepest first.

    Columns: run_id, name (such as plain-56 seed 0), depth, state, stale (ended under code
    that may compute other numbers than the present), steps_done, steps, seconds (in all
    attempts; null if none is recorded), bytes on disk, error (of the last attempt), damage
    (lines on its damaged files, found now or moved aside before; null if there are none).

    Raises:
        GradflowError: no such folder, or no run in it but watched ones, which are of no study.
    """
    if not folder.is_dir():
        raise GradflowError(f"{folder}: no such folder; give a study's, such as outputs/scratch")
    rows = []
    ended = ended_runs(folder)
    for run in without_watched(ended).to_dict("records"):
        name = run_name(run["network_depth"], run["network_skip"], run["seed"])
        rows.append(
            {
                "run_id": run["run_id"],
                "name": name,
                "depth": run["network_depth"],
                "state": run["status"],
                "stale": run["code_version"] != code_version(),
                "steps_done": run["steps_done"],
                "steps": run["steps"],
                "seconds": run["seconds"],
                "error": None,
            }
        )
    known = {row["run_id"] for row in rows}
    for path in sorted(folder.glob(f"*/{CONFIG}")):
        if path.parent.name not in known:
            rows.append(_unfinished(path))
    if not rows:
        raise GradflowError(
            f"{folder}: {ONLY_WATCHED}"
            if len(ended) or parts_of(folder, "settings")
            else f"{folder}: holds no run; gradflow train begins some"
        )
    found = pd.DataFrame(rows)
    found["seconds"] = found.seconds.astype(float)
    found["damage"] = [_damage(folder / run) for run in found.run_id]
    found["bytes"] = [disk_use(folder / run) for run in found.run_id]
    return found.sort_values(["depth", "name"], ascending=[False, True], ignore_index=True)


def without_watched(runs: pd.DataFrame) -> pd.DataFrame:
    """The rows of a runs table that are of a study: a watched run has no depth.

    The others' columns, which held nulls, have the types of the schema again.
    """
    own = runs[runs.network_depth.notna()]
    if len(own) == len(runs):
        return runs
    exact = [
        f for f in SCHEMAS["runs"] if pa.types.is_integer(f.type) or pa.types.is_boolean(f.type)
    ]
    whole = [f for f in exact if f.name in own and own[f.name].notna().all()]
    return own.astype({field.name: field.type.to_pandas_dtype() for field in whole})


def _damage(run: Path) -> str | None:
    lines = [*config_damage(run), *damage_of(run)]
    if aside := moved_aside(run):
        lines.append(f"{run}: damaged and moved aside: {', '.join(aside)}")
    return "\n".join(lines) or None


def _unfinished(path: Path) -> dict[str, Any]:
    try:
        config = read_config(path)
    except GradflowError:  # `damage` says so
        config = {}
    network = config.get("network") or {}
    state, error = _unfinished_state(path.parent)
    name = "unknown"
    if "seed" in config:
        name = run_name(network.get("depth", 0), network.get("skip", True), config["seed"])
    return {
        "run_id": path.parent.name,
        "name": name,
        "depth": network.get("depth", 0),
        "state": state,
        "stale": False,
        "steps_done": _steps_done(path.parent),
        "steps": config.get("steps", 0),
        "seconds": _seconds(path.parent),
        "error": error,
    }


def _unfinished_state(folder: Path) -> tuple[str, str | None]:
    """The state of a run that has no row to say that it ended, and the error that ended it.

    Attempts are in the order in which they were written, whatever the clock said.
    """
    if not (folder / CONFIG).exists():
        return "missing", None
    if is_running(folder):
        return "running", None
    try:
        read_records(folder, "runs", columns=["status"])
    except DamageError as damaged:
        return "failed", str(damaged)
    except GradflowError:
        pass
    attempts = _rows(folder, "attempts", ["error"])
    if attempts.empty:
        begun = any(entry.name != CONFIG for entry in folder.iterdir())
        return "interrupted" if begun else "missing", None
    last = attempts.error.iloc[-1]
    error = "" if pd.isna(last) else str(last)  # without one it was killed before it recorded it
    if not error:
        return "interrupted", None
    if error.startswith(("Interrupted", "KeyboardInterrupt")):
        return "interrupted", None
    return ("pruned", None) if error.startswith("Pruned") else ("failed", error)


def _steps_done(folder: Path) -> int:
    steps = _rows(folder, "steps", ["step"]).step
    return 0 if steps.empty else int(steps.max()) + 1


def _rows(folder: Path, table: str, columns: Sequence[str]) -> pd.DataFrame:
    """Of a run that may have none of this table."""
    try:
        return read_records(folder, table, columns=columns)
    except GradflowError:
        return pd.DataFrame(columns=list(columns))


def _seconds(folder: Path) -> float | None:
    """In all attempts at a run; None if none is recorded."""
    attempts = _rows(folder, "attempts", ["wall_seconds"])
    return None if attempts.empty else float(attempts.wall_seconds.sum())
