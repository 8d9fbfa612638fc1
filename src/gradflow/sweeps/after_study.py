"""After a study: its figures, its tables and its report."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from gradflow.config.conf_folder import COMMANDS
from gradflow.core.files import atomic_write
from gradflow.core.interrupts import terminating_as_interrupt
from gradflow.core.locks import drawing


class AnalyseStudy(Callback):
    """Runs `gradflow report <study folder>`: what the study names, and what was swept.

    `~hydra.callbacks.analysis` on the command line leaves it out.
    """

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Keep the study's command, and run its analysis."""
        folder = Path(config.output_root) / config.study.name
        if config.dry_run:
            return
        if not folder.is_dir():  # no run was begun
            return
        keep_command(folder, _command())
        command = [sys.executable, "-P", "-m", "gradflow", "report", str(folder)]
        if _ended(command):  # Hydra makes a warning of any Exception here
            sys.exit(f"error: the analysis failed; the records in {folder} are complete")


def _ended(command: list[str]) -> int:
    """The exit status of a command, which an interrupt of this process ends with its own.

    In a session of its own, so that Ctrl-C does not reach it: only this process reports it.
    """
    with terminating_as_interrupt():
        process = subprocess.Popen(command, start_new_session=True)
        try:
            return process.wait()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # what it writes, it writes whole
                process.wait()


def _command() -> str:
    """This process's command, as it is typed."""
    return f"{sys.argv[0]} {shlex.join(sys.argv[1:])}"


def keep_command(folder: Path, command: str) -> None:
    """Add a command to those that made the study, of which several may end at once."""
    path = folder / COMMANDS
    with drawing(folder):
        kept = path.read_text(errors="replace").splitlines() if path.exists() else []
        if command not in kept:
            atomic_write(path, "\n".join([*kept, command]) + "\n")
