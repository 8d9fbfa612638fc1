"""After a study: its figures, its tables and its report."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from gradflow.config.conf_folder import COMMANDS, ROOT


class AnalyseStudy(Callback):
    """Runs `analysis/report.py <study folder>` where `study.analysis` names something to show."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Keep the study's command, and run its analysis."""
        folder = Path(config.output_root) / config.study.name
        if config.dry_run:
            return
        print(f"records: {folder}", flush=True)
        if folder.is_dir():
            _keep_command(folder)
        if not config.study.analysis:
            return
        command = [sys.executable, str(ROOT / "analysis" / "report.py"), str(folder)]
        if subprocess.run(command).returncode:  # Hydra makes a warning of any Exception here
            sys.exit(f"error: the analysis failed; the records in {folder} are complete")


def _keep_command(folder: Path) -> None:
    """Add this process's command to those that made the study."""
    script = Path(sys.argv[0]).resolve()
    name = script.relative_to(ROOT) if script.is_relative_to(ROOT) else Path(script.name)
    command = f"python {shlex.join([str(name), *sys.argv[1:]])}"
    path = folder / COMMANDS
    kept = path.read_text().splitlines() if path.exists() else []
    if command not in kept:
        path.write_text("\n".join([*kept, command]) + "\n")
