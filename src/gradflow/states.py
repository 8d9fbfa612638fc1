"""What has become of each run of a study, told from its folder alone.

missing      planned, and nothing done yet
running      a process works on it now
interrupted  stopped or killed; goes on from its checkpoint
pruned       stopped by a search, as others did better; would go on likewise
failed       ended by an error; would be tried again
finished, diverged   ended; a diverged run is a result too
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from filelock import FileLock, Timeout

from gradflow.config.identity import run_name
from gradflow.errors import GradflowError
from gradflow.provenance import code_version
from gradflow.records import ended_runs, has_ended, read_records
from gradflow.stopping import Interrupted, asked_to_stop

ENDED = ("finished", "diverged")
CONFIG = "config.yaml"

_WAITS: ContextVar[bool] = ContextVar("waits", default=True)


def lock_of(folder: Path) -> FileLock:
    """The lock that a process holds while it works on a run; a dead one holds nothing.

    It lies outside of the run's folder, which may then be deleted at any time.
    """
    locks = folder.parents[1] / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    return FileLock(locks / f"{folder.parent.name}-{folder.name}.lock")


@contextmanager
def held(lock: FileLock) -> Iterator[None]:
    """Hold a lock, as soon as no other process does.

    Raises:
        Interrupted: it was asked to stop while it waited, or is not to wait.
    """
    while True:
        try:
            lock.acquire(timeout=1.0 if _WAITS.get() else 0.0)
        except Timeout:
            if asked_to_stop() or not _WAITS.get():
                raise Interrupted("another process works on the run") from None
        else:
            break
    try:
        yield
    finally:
        lock.release()


@contextmanager
def not_waiting() -> Iterator[None]:
    """Inside, a run that another process works on is left to it at once."""
    token = _WAITS.set(False)
    try:
        yield
    finally:
        _WAITS.reset(token)


def disk_use(folder: Path) -> int:
    """Bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def is_running(folder: Path) -> bool:
    """Whether a process of any machine that shares the folder works on the run."""
    try:
        with lock_of(folder).acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a folder that is only read
        return False


def state_of(folder: Path) -> str:
    """One of the words above for one run's folder, which need not exist."""
    if has_ended(folder):
        status: str = read_records(folder, "runs", columns=["status"]).status[0]
        return status
    return _unfinished_state(folder)[0]


def study_states(folder: Path) -> pd.DataFrame:
    """A row a run of a study, planned or begun, deepest first.

    Columns: run_id, name (such as plain-56 seed 0), depth, state, stale (ended under other
    code than the present), steps_done, steps, seconds (in all attempts; null where none is
    recorded), bytes on disk, error (of the last attempt).

    Raises:
        GradflowError: no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise GradflowError(f"{folder}: no such folder; give a study's, such as outputs/scratch")
    rows = []
    ended = ended_runs(folder).to_dict("records")
    for run in ended:
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
                "error": None,
            }
        )
    known = {row["run_id"] for row in rows}
    for path in sorted(folder.glob(f"*/{CONFIG}")):
        if path.parent.name not in known:
            rows.append(_unfinished(path))
    if not rows:
        raise GradflowError(f"{folder}: holds no run; python experiments/train.py begins some")
    found = pd.DataFrame(rows).merge(spent(folder, [row["run_id"] for row in rows]), on="run_id")
    return found.sort_values(["depth", "name"], ascending=[False, True], ignore_index=True)


def _unfinished(path: Path) -> dict[str, Any]:
    config = yaml.safe_load(path.read_text())
    network = config.get("network", {})
    state, error = _unfinished_state(path.parent)
    return {
        "run_id": path.parent.name,
        "name": run_name(network.get("depth", 0), network.get("skip", True), config["seed"]),
        "depth": network.get("depth", 0),
        "state": state,
        "stale": False,
        "steps_done": _steps_done(path.parent),
        "steps": config.get("steps", 0),
        "error": error,
    }


def _unfinished_state(folder: Path) -> tuple[str, str | None]:
    """The state of a run that has not ended, and the error of its last attempt."""
    if not (folder / CONFIG).exists():
        return "missing", None
    if is_running(folder):
        return "running", None
    attempts = _rows(folder, "attempts", ["started", "error"])
    if attempts.empty:
        begun = any(entry.name != CONFIG for entry in folder.iterdir())
        return "interrupted" if begun else "missing", None
    last = attempts.sort_values("started").error.iloc[-1]
    error = "" if pd.isna(last) else str(last)  # without one it was killed before it was told
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


def spent(folder: Path, runs: Sequence[str]) -> pd.DataFrame:
    """A row for each of a study's runs: run_id, seconds in all attempts, bytes on disk."""
    try:
        attempts = read_records(folder, "attempts", columns=["run_id", "wall_seconds"])
        seconds = attempts.groupby("run_id").wall_seconds.sum()
    except GradflowError:
        seconds = pd.Series(dtype=float)
    sizes = [disk_use(folder / run) for run in runs]
    return pd.DataFrame(
        {"run_id": list(runs), "seconds": seconds.reindex(list(runs)).to_numpy(), "bytes": sizes}
    )
