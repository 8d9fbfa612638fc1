"""After a study: the analysis that its config names."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

ANALYSIS = Path(__file__).parents[3] / "analysis"


class AnalyseStudy(Callback):
    """Runs `analysis/<name>.py <study folder>` for each name in `study.analysis`, side by side."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(config.output_root) / config.study.name
        if config.dry_run:
            return
        print(f"records: {folder}")
        if config.study.analysis and _is_up_to_date(folder):
            print(f"figures: {folder / 'figures'}, made of these records before")
            return
        scripts = [ANALYSIS / f"{name}.py" for name in config.study.analysis]
        running = [
            subprocess.Popen(
                [sys.executable, str(script), str(folder)], stdout=subprocess.PIPE, text=True
            )
            for script in scripts
        ]
        for script, process in zip(scripts, running, strict=True):
            output, _ = process.communicate()
            print(output, end="")
            if process.returncode:  # Hydra makes a warning of any Exception here
                sys.exit(f"error: {script.name} failed; the records in {folder} are complete")


def _is_up_to_date(folder: Path) -> bool:
    """Whether every figure is younger than every run and than the analysis itself."""
    figures = [path.stat().st_mtime for path in (folder / "figures").glob("*")]
    causes = [*folder.glob("*/runs"), *folder.glob("*/diagnoses"), *ANALYSIS.glob("*.py")]
    return bool(figures) and min(figures) > max(path.stat().st_mtime for path in causes)
