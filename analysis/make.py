"""Every figure and table of a study, or of all studies in a folder, that is not up to date.

python analysis/make.py outputs/degradation
python analysis/make.py outputs --style neurips --format pdf
"""

import argparse
import hashlib
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from analysis import style
from analysis.study import add_figure_options, formats_of, load_study
from gradflow.errors import GradflowError
from gradflow.records import has_ended
from gradflow.states import CONFIG

STUDIES = Path(__file__).parents[1] / "conf" / "study"
MADE = ".made.json"  # which script made what, of which records


def make(folder: Path, formats: Sequence[str], venue: str) -> list[Path]:
    """Run the analysis scripts of one study that have something new to show; what they wrote.

    Raises:
        GradflowError: no run of the study has ended, or a script cannot show its runs.
    """
    ledger = folder / MADE
    made: dict[str, dict[str, object]] = json.loads(ledger.read_text()) if ledger.exists() else {}
    written: list[Path] = []
    for name in scripts_of(folder):
        key = f"{name} {venue} {','.join(formats)}"
        stamp = _stamp(folder)
        before = made.get(key, {})
        files = [folder / str(file) for file in before.get("files", ())]  # type: ignore[attr-defined]
        if before.get("stamp") == stamp and all(file.exists() for file in files):
            continue
        module = importlib.import_module(f"analysis.{name}")
        study = load_study(folder, swept=getattr(module, "SWEPT", ()))
        for note in study.notes:
            print(f"note: {folder.name}: {note}")
        with style.for_venue(venue):
            paths = module.analyse(study, formats)
        made[key] = {"stamp": stamp, "files": [str(path.relative_to(folder)) for path in paths]}
        ledger.write_text(json.dumps(made, indent=1, sort_keys=True) + "\n")
        written += paths
    return written


def scripts_of(folder: Path) -> list[str]:
    """The analysis scripts of a study: those that its newest run names, and those that the study
    of its name names in conf/."""
    names: dict[str, None] = {}
    newest = max(folder.glob(f"*/{CONFIG}"), key=lambda path: path.stat().st_mtime_ns)
    own = STUDIES / f"{folder.name}.yaml"
    for config in [newest, *([own] if own.exists() else [])]:
        study = yaml.safe_load(config.read_text()).get("study") or {}
        names |= dict.fromkeys(study.get("analysis") or ())
    return list(names)


def studies_in(folder: Path) -> list[Path]:
    """The folder itself where it is a study, else the studies in it that have ended runs.

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
    """What figures are made of: records, diagnoses and the analysis itself."""
    causes = [
        *folder.glob("*/runs"),
        *folder.glob("*/diagnoses"),
        *Path(__file__).parent.glob("*.py"),
    ]
    facts = sorted((str(path.name), path.stat().st_mtime_ns) for path in causes)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a study's folder, or the one of all studies")
    add_figure_options(parser)
    arguments = parser.parse_args()
    failed = []
    try:
        formats = formats_of(arguments.format)
        with style.for_venue(arguments.style):
            studies = studies_in(arguments.folder)
    except GradflowError as error:
        sys.exit(f"error: {error}")
    for folder in studies:
        try:
            paths = make(folder, formats, arguments.style)
        except GradflowError as error:
            failed.append(str(error))
            continue
        for path in paths:
            print(path)
        if not paths:
            print(f"{folder}: figures and tables are up to date")
    if failed:
        sys.exit("\n".join(f"error: {text}" for text in failed))


if __name__ == "__main__":
    main()
