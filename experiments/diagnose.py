"""Diagnose runs that have ended: look closely at their networks, trained or as they were drawn.

    python experiments/diagnose.py run=outputs/degradation/3f2a... diagnostic=lesion
    python experiments/diagnose.py run=outputs/degradation diagnostic=paths diagnostic.at=both

A run's folder, or a study's: then all of its runs. What was measured before is not again.
"""

from dataclasses import replace
from pathlib import Path

import hydra
from omegaconf import DictConfig
from tqdm import tqdm

from gradflow.config.hydra_bridge import call, load_run_config, main, register_schema
from gradflow.config.run import DiagnoseConfig
from gradflow.core.errors import GradflowError
from gradflow.records import has_ended, pending
from gradflow.runs.status import CONFIG

register_schema()


def diagnose(config: DiagnoseConfig) -> None:
    """Run the diagnostic on every ended run in the folder that does not have it yet.

    Raises:
        GradflowError: no diagnostic is named, or no run has ended in the folder.
    """
    folder = Path(config.run)
    if config.diagnostic.name == "off":
        config.diagnostic.refuse("name", "names what to measure, such as diagnostic=lesion")
    if not folder.is_dir():
        raise GradflowError(f"run={folder}: no such folder; give a run's or a study's")
    found = [folder] if (folder / CONFIG).exists() else sorted(folder.glob("*/"))
    runs = [run for run in found if has_ended(run)]
    if not runs:
        raise GradflowError(f"run={folder}: no run has ended there")
    todo = [run for run in runs if pending(run, config.diagnostic)]
    from gradflow.runs.execute import diagnose_ended  # torch is imported where the work is done

    for run in tqdm(todo, unit="run", disable=None):
        diagnose_ended(replace(load_run_config(run / CONFIG), diagnostic=config.diagnostic), run)
    print(f"{len(todo)} of {len(runs)} runs diagnosed, the others were before\nrecords: {folder}")


@hydra.main(version_base="1.3", config_path="../conf", config_name="diagnose")
def run(cfg: DictConfig) -> None:
    """Hydra's entry: compose the config and diagnose its runs."""
    call(diagnose, cfg, DiagnoseConfig)


if __name__ == "__main__":
    main(run)
