"""The commands in this process: every word is read as the real command reads it, nothing trains."""

import io
import runpy
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

from hydra.core.global_hydra import GlobalHydra

from gradflow.core.progress import RunResult
from gradflow.runs.planning import plan

ROOT = Path(__file__).parents[2]


class Ended(NamedTuple):
    """How a command ended.

    accepted: the configs that would have been trained, or the one that would have been done.
    """

    refused: str | None
    accepted: list[Any]
    traceback: str | None


@contextmanager
def nothing_done(accepted: list[Any]) -> Iterator[None]:
    """Inside, a run is planned and not done, in a sweep as alone, and nothing is drawn."""
    import gradflow.runs.execute
    import gradflow.sweeps.after_study
    from gradflow.sweeps.launcher import DaskLauncher

    def execute(config: Any) -> RunResult:
        run = plan(config)
        accepted.append(config)
        return RunResult(run.folder, "missing", True, None)

    def run_on_cluster(self: Any, jobs: Any, count: int, distinct: Any) -> list[Any]:
        accepted.extend(job.run.config for job in jobs)
        return []

    with (
        mock.patch.object(gradflow.runs.execute, "execute", execute),
        mock.patch.object(DaskLauncher, "_run_on_cluster", run_on_cluster),
        mock.patch.object(gradflow.sweeps.after_study, "_ended", return_value=0),  # no report
    ):
        yield


def command(script: str, *words: str) -> Ended:
    """`python experiments/<script>.py <words>`, but for the training."""
    path = str(ROOT / "experiments" / f"{script}.py")
    GlobalHydra.instance().clear()
    accepted: list[Any] = []
    refused = found = None
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", [path, *words]),
        redirect_stdout(out),
        redirect_stderr(err),
        nothing_done(accepted),
    ):
        try:
            runpy.run_path(path, run_name="__main__")
        except SystemExit as ended:
            refused = str(ended.code) if ended.code not in (None, 0) else None
        except BaseException:
            found = traceback.format_exc()
    return Ended(refused, accepted, found)


def files_below(folder: Path) -> Sequence[str]:
    """What a command has left, but for decoded data and Hydra's own notes."""
    found = (str(path.relative_to(folder)) for path in folder.rglob("*"))
    return sorted(name for name in found if not name.startswith((".cache", ".hydra")))
