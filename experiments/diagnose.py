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

from gradflow.config.hydra_bridge import call, main, register_schema
from gradflow.config.run import DiagnoseConfig
from gradflow.core.errors import DamageError, GradflowError
from gradflow.records import has_ended, pending
from gradflow.runs.planning import ended_config
from gradflow.runs.status import CONFIG

register_schema()


def diagnose(config: DiagnoseConfig) -> None:
    folder = Path(config.run)
    if config.diagnostic.name == "off":
        config.diagnostic.refuse("name", "names what to measure, such as diagnostic=lesion")
    if not folder.is_dir():
        raise GradflowError(f"run={folder}: no such folder; give a run's or a study's")
    found = [folder] if (folder / CONFIG).exists() else sorted(folder.glob("*/"))
    runs = [run for run in found if has_ended(run)]
    if not runs:
        raise GradflowError(f"run={folder}: no run has ended there")
    done, failures = 0, []
    for run in tqdm(runs, unit="run", disable=None):
        try:
            if not pending(run, config.diagnostic):
                continue
            from gradflow.runs.execute import diagnose_ended  # imports torch, for work to be done

            diagnose_ended(replace(ended_config(run), diagnostic=config.diagnostic), run)
            done += 1
        except DamageError as error:  # of this run alone
            failures.append(str(error))
    before = len(runs) - done - len(failures)
    print(f"{done} of {len(runs)} runs diagnosed, {before} were before\nrecords: {folder}")
    if failures:
        raise GradflowError("; ".join(failures))


@hydra.main(version_base="1.3", config_path="../conf", config_name="diagnose")
def run(cfg: DictConfig) -> None:
    call(diagnose, cfg, DiagnoseConfig)


if __name__ == "__main__":
    main(run)
