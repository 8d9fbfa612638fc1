"""Every figure and table of a study, or of all studies in a folder, that is not up to date.

python analysis/make.py outputs/degradation
python analysis/make.py outputs --style neurips --format pdf
"""

import argparse
import hashlib
import importlib
import io
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stdout
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from gradflow.analysis.output import Output, check_look
from gradflow.analysis.script import add_figure_options, formats_of
from gradflow.analysis.study import damage_notes, load_study
from gradflow.config.conf_folder import STUDIES
from gradflow.config.saved import read_config
from gradflow.core.door import folder_of, one_line
from gradflow.core.errors import GradflowError
from gradflow.core.files import atomic_write
from gradflow.core.locks import drawing
from gradflow.records import has_ended
from gradflow.runs.status import CONFIG

MADE = ".made.json"  # script, formats and venue -> the files made, and of which records


class Made(NamedTuple):
    """The files written, and for each script that failed the reason."""

    paths: list[Path]
    failures: list[str]


def make(folder: Path, formats: Sequence[str], venue: str) -> Made:
    """Run the analysis scripts of one study whose figures are missing or older than its records.

    A script that failed is retried the next time.
    """
    ledger = folder / MADE
    known: dict[str, Any] = json.loads(ledger.read_text()) if ledger.exists() else {}
    stamp = _stamp(folder)
    keys = {name: f"{name} {venue} {','.join(formats)}" for name in scripts_of(folder)}
    stale = [name for name, key in keys.items() if not _is_there(folder, known.get(key), stamp)]
    made = Made([], [])
    if stale:
        damage_notes(folder)  # what is found whole is not checked again by each script
    # Side by side: drawing takes a core each. Forked, so that nothing is imported again.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("fork")) as pool:
        tasks = {name: pool.submit(_run, name, folder, formats, venue) for name in stale}
        for name, task in tasks.items():
            paths, printed, failure = task.result()
            print(printed, end="", flush=True)
            if failure is not None:
                made.failures.append(f"{name}: {failure}")
                continue
            made.paths.extend(paths)
            files = [str(path.relative_to(folder)) for path in paths]
            known[keys[name]] = {"stamp": stamp, "files": files}
    if stale:
        atomic_write(ledger, json.dumps(known, indent=1, sort_keys=True) + "\n")
    return made


def _run(
    name: str, folder: Path, formats: Sequence[str], venue: str
) -> tuple[list[Path], str, str | None]:
    """The files that one script wrote, its printed text, and the reason if it failed."""
    module = importlib.import_module(f"gradflow.analysis.studies.{name}")
    with redirect_stdout(io.StringIO()) as printed:
        try:
            study = load_study(folder, swept=getattr(module, "SWEPT", ()))
            for note in study.notes:
                print(f"note: {folder.name}: {note}")
            output = Output(study, formats, venue)
            module.analyze(output)
            return output.paths, printed.getvalue(), None
        except GradflowError as error:
            return [], printed.getvalue(), str(error)


def _is_there(folder: Path, before: dict[str, Any] | None, stamp: str) -> bool:
    """Whether the files that a script made before are of the same records and still there."""
    if before is None or before["stamp"] != stamp:
        return False
    return all((folder / file).exists() for file in before["files"])


def scripts_of(folder: Path) -> list[str]:
    """The analysis scripts of a study: those that its first and its last run name (a thousand
    configs take seconds to read), and those that the study of its name names in conf/."""
    names: dict[str, None] = {}
    configs = sorted(folder.glob(f"*/{CONFIG}"), key=lambda path: path.stat().st_mtime_ns)
    found = [next(filter(None, map(_study_of, ends)), {}) for ends in (configs, configs[::-1])]
    own = STUDIES / f"{folder.name}.yaml"
    if own.exists():
        found.append(yaml.safe_load(own.read_text()).get("study") or {})
    for study in found:
        names |= dict.fromkeys(study.get("analysis") or ())
    return list(names)


def _study_of(config: Path) -> dict[str, Any]:
    """The study that a run's config names; empty if the config is damaged."""
    try:
        return read_config(config).get("study") or {}
    except GradflowError:
        return {}


def studies_in(folder: Path) -> list[Path]:
    """The folder itself if it is a study, else the studies in it that have ended runs.

    Raises:
        GradflowError: there is none.
    """
    if not folder.is_dir():
        raise GradflowError(f"{folder}: no such folder; give a study's, or the one of all studies")
    if any(folder.glob(f"*/{CONFIG}")):
        return [folder]
    found = sorted({path.parents[1] for path in folder.glob(f"*/*/{CONFIG}")})
    found = [study for study in found if any(has_ended(run) for run in study.iterdir())]
    if not found:
        raise GradflowError(f"{folder}: holds no study that has a finished run")
    return found


def _stamp(folder: Path) -> str:
    """A digest of the inputs of figures: records, diagnoses and the analysis itself."""
    causes = [
        *folder.glob("*/runs"),
        *folder.glob("*/diagnoses"),
        *folder.glob("*/failed_diagnoses"),
        *Path(__file__).parent.rglob("*.py"),
    ]
    facts = sorted((str(path.name), path.stat().st_mtime_ns) for path in causes)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


@one_line()
def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folder", type=folder_of, help="a study's folder, or the one of all studies"
    )
    add_figure_options(parser)
    arguments = parser.parse_args()
    failed = []
    try:
        formats = formats_of(arguments.format)
        check_look(formats, arguments.style)
        studies = studies_in(arguments.folder)
    except GradflowError as error:
        sys.exit(f"error: {error}")
    for folder in studies:
        with drawing(folder):
            paths, failures = make(folder, formats, arguments.style)
        failed += failures
        for path in paths:
            print(path)
        if not paths and not failures:
            print(f"{folder}: figures and tables are up to date")
    if failed:
        sys.exit("\n".join(f"error: {text}" for text in failed))
