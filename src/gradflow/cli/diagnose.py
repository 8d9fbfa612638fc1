"""Diagnose runs that have ended: look closely at their networks, trained or as they were drawn.

    gradflow diagnose run=outputs/degradation/3f2a... diagnostic=lesion
    gradflow diagnose run=outputs/degradation diagnostic=paths diagnostic.at=both

A run's folder, or a study's: then all of its runs. What was measured before is not again. If a
run cannot be diagnosed, a line says why and its table failed_diagnoses keeps the reason; the other
runs are diagnosed, and the exit status is 1.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import hydra
from omegaconf import DictConfig
from tqdm import tqdm

from gradflow.config.conf_folder import CONF
from gradflow.config.diagnostics import DiagnosticConfig
from gradflow.config.hydra_bridge import call, end_in_one_line, register_schema
from gradflow.config.run import DiagnoseConfig
from gradflow.core.door import folder_of, of_path
from gradflow.core.errors import GradflowError
from gradflow.records import has_ended, measurable, pending
from gradflow.runs.planning import ended_config
from gradflow.runs.status import CONFIG

DONE, BEFORE = "diagnosed", "were before"
DIVERGED = "diverged and have no trained weights to look at: diagnostic.at=initialization"


def diagnose(config: DiagnoseConfig) -> None:
    """Run the diagnostic on every ended run in the folder that does not have it yet.

    Raises:
        GradflowError: no diagnostic is named, or no run has ended in the folder.
    """
    folder = folder_of(config.run).absolute()  # of a run, whose study and outputs are above it
    if config.diagnostic.name == "off":
        config.diagnostic.refuse("name", "names what to measure, such as diagnostic=lesion")
    if not folder.is_dir():
        raise GradflowError(f"run={config.run}: no such folder; give a run's or a study's")
    found = [folder] if (folder / CONFIG).exists() else sorted(folder.glob("*/"))
    runs = [run for run in found if has_ended(run)]
    if not runs:
        raise GradflowError(f"run={config.run}: no run has ended there")
    counts: Counter[str] = Counter()
    failures = []
    for run in tqdm(runs, unit="run", disable=None):
        try:
            counts[_outcome(run, config.diagnostic)] += 1
        except GradflowError as error:
            failures.append(str(error))
        except OSError as error:
            failures.append(of_path(error))
    parts = [f"{counts.pop(DONE, 0)} of {len(runs)} runs diagnosed"]
    parts += [f"{count} {outcome}" for outcome, count in counts.items()]
    parts += [f"{len(failures)} failed"] if failures else []
    print(f"{', '.join(parts)}\nrecords: {config.run}")
    if failures:
        raise GradflowError("\nerror: ".join(failures))


def _outcome(run: Path, diagnostic: DiagnosticConfig) -> str:
    """Diagnose a run that has ended; what became of it."""
    if not measurable(run, diagnostic):
        return DIVERGED
    if not pending(run, diagnostic):
        return BEFORE
    from gradflow.runs.execute import diagnose_ended  # torch is imported where the work is done

    diagnose_ended(replace(ended_config(run), diagnostic=diagnostic), run)
    return DONE


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="diagnose")
def run(cfg: DictConfig) -> None:
    """Hydra's entry: compose the config and diagnose its runs."""
    call(diagnose, cfg, DiagnoseConfig)


def main() -> None:
    """The command line."""
    register_schema()
    end_in_one_line(run, sweeps=False)
