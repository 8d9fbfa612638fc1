"""After a study: the analysis that its config names."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

ANALYSIS = Path(__file__).parents[3] / "analysis"


class AnalyseStudy(Callback):
    """Runs `analysis/<name>.py <study folder>` for each name in `study.analysis`."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(config.output_root) / config.study.name
        print(f"records: {folder}")
        for name in config.study.analysis:
            subprocess.run([sys.executable, str(ANALYSIS / f"{name}.py"), str(folder)], check=True)
