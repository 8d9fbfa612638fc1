"""Every figure and table of a study, or of all studies in a folder, that is not up to date.

gradflow figures outputs/degradation
gradflow figures outputs --style neurips --format pdf
"""

import hashlib
import importlib
import io
import json
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stdout
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from gradflow.analysis.inferred import analyses_of, shown_keys
from gradflow.analysis.output import Output, check_look
from gradflow.analysis.script import add_figure_options, formats_of
from gradflow.analysis.study import Study, load_study
from gradflow.analysis.swept import file_part, label
from gradflow.config.conf_folder import JOURNAL
from gradflow.core.command_line import CommandLine
from gradflow.core.door import folder_of, one_line
from gradflow.core.errors import GradflowError
from gradflow.core.files import atomic_write
from gradflow.core.interrupts import end_with_parent
from gradflow.core.locks import drawing
from gradflow.records import has_ended
from gradflow.runs.status import CONFIG

MADE = ".made.json"  # script, formats and venue -> the files made, and of which records
MOST = 12  # settings of a study that have figures of their own; figures of all show more


class Made(NamedTuple):
    """What became of a study's analyses.

    paths: the files written now. printed: the tables and notes of their scripts. notes: what
    could not be shown of which setting, and why. failures: the scripts that failed, with the
    reason.
    """

    paths: list[Path]
    printed: list[str]
    notes: list[str]
    failures: list[str]


class Task(NamedTuple):
    """One script on one setting of a study."""

    script: str
    study: Study

    @property
    def id(self) -> str:
        """A name of its own among the tasks of a study."""
        return f"{self.script}{file_part(self.study.setting)}"

    @property
    def title(self) -> str:
        """A name for people."""
        shown = label(self.study.setting)
        return f"{self.script} ({shown})" if shown else self.script


class Done(NamedTuple):
    """What a task wrote and printed; the reason if it refused its runs, or if it failed."""

    paths: list[Path]
    printed: str
    refusal: str | None = None
    failure: str | None = None


def make(folder: Path, formats: Sequence[str], venue: str) -> Made:
    """Run the analysis scripts of one study whose figures are missing or older than its records.

    A script that fails costs only its own figures, of which no older ones stay, and is retried
    the next time. One that refuses what it is given (no run without divergence, nothing
    recorded) fails only if the study names it and it can show no setting at all.

    Raises:
        GradflowError: no run of the study can be shown.
    """
    ledger = folder / MADE
    known = made_before(folder)
    study = load_study(folder)
    named = analyses_of(folder, study.runs)
    made = Made([], [], [], [])
    tasks = [task for script in named for task in _tasks(script, study, made)]
    keys = {task.id: f"{task.id} {venue} {','.join(formats)}" for task in tasks}
    for key in [key for key in known if key.split(" ")[0] not in keys]:
        _remove(folder, known.pop(key)["files"], known)
    stamp = _stamp(folder)
    stale = [task for task in tasks if not _is_there(folder, known.get(keys[task.id]), stamp)]
    if stale:
        print(f"drawing figures of {folder.name}: {len(stale)} analyses", flush=True)
    for task, done in zip(stale, _all_done(stale, formats, venue), strict=True):
        made.printed.append(done.printed)
        before = known.pop(keys[task.id], {"files": []})["files"]
        files = [str(path.relative_to(folder)) for path in done.paths]
        if done.failure is None:
            known[keys[task.id]] = {"stamp": stamp, "files": files, "refusal": done.refusal}
            made.paths.extend(done.paths)
        else:
            made.failures.append(f"{task.title}: {done.failure}")
        _remove(folder, [*before, *files], known)
    _judge_refusals([(task, known.get(keys[task.id])) for task in tasks], named, made)
    atomic_write(ledger, json.dumps(known, indent=1, sort_keys=True) + "\n")
    return made


def _judge_refusals(
    entries: Sequence[tuple[Task, dict[str, Any] | None]], named: dict[str, bool], made: Made
) -> None:
    """What a script refused to show is a note; a failure if the study names the script and it
    shows no setting, or if nothing is shown at all."""
    shown = {task.script for task, entry in entries if entry and entry["files"]}
    for task, entry in entries:
        reason = (entry or {}).get("refusal")
        if reason is None:
            continue
        if (named[task.script] and task.script not in shown) or not shown:
            made.failures.append(f"{task.title}: {reason}")
        else:
            made.notes.append(f"not shown: {task.title}: {reason}")


def _tasks(script: str, study: Study, made: Made) -> list[Task]:
    """A task per setting; none, and a note, if that would be too many figures to look at."""
    try:
        parts = study.split(shown_keys(script))
    except Exception as error:  # a module that cannot be imported
        made.failures.append(f"{script}: {_words(error)}")
        return []
    if len(parts) > MOST:
        made.notes.append(
            f"{script}: not drawn for each of {len(parts)} settings; "
            f"python analysis/{script}.py {study.folder} --where KEY=VALUE draws those that it "
            "leaves"
        )
        return []
    return [Task(script, part) for part in parts]


def _all_done(tasks: Sequence[Task], formats: Sequence[str], venue: str) -> Iterator[Done]:
    # Side by side: drawing takes a core each. Forked, so that nothing is imported again.
    with ProcessPoolExecutor(os.cpu_count(), get_context("fork"), end_with_parent) as pool:
        for future in [pool.submit(_run, task, formats, venue) for task in tasks]:
            try:
                yield future.result()
            except BrokenProcessPool:
                yield Done([], "", failure="the process that drew it was killed")


def _run(task: Task, formats: Sequence[str], venue: str) -> Done:
    module = importlib.import_module(f"gradflow.analysis.studies.{task.script}")
    with redirect_stdout(io.StringIO()) as printed:
        output = Output(task.study, formats, venue)
        try:
            for note in task.study.notes:
                print(f"note: {task.study.folder.name}: {note}")
            module.analyze(output)
            return Done(output.paths, printed.getvalue())
        except GradflowError as error:
            return Done(output.paths, printed.getvalue(), refusal=str(error))
        except Exception as error:  # a fault of the script, which costs the others nothing
            return Done(output.paths, printed.getvalue(), failure=_words(error))


def _words(error: Exception) -> str:
    """An exception that nobody expected, in one line with the place that raised it."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text} ({Path(place.filename).name}, line {place.lineno})"


def made_before(folder: Path) -> dict[str, dict[str, Any]]:
    """What MADE says; nothing of what it cannot say, so that this is made again.

    Only files inside the study count, as those of records that are no more are deleted.
    """
    try:
        found = json.loads((folder / MADE).read_text())
    except (FileNotFoundError, ValueError):
        return {}
    entries = found.items() if isinstance(found, dict) else ()
    return {key: entry for key, entry in entries if _is_entry(entry)}


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not {"stamp", "files"} <= entry.keys():
        return False
    files = entry["files"]
    return isinstance(files, list) and all(
        isinstance(file, str) and not Path(file).is_absolute() and ".." not in Path(file).parts
        for file in files
    )


def _is_there(folder: Path, before: dict[str, Any] | None, stamp: str) -> bool:
    """Whether the files that a script made before are of the same records and still there."""
    if before is None or before["stamp"] != stamp:
        return False
    return all((folder / file).exists() for file in before["files"])


def _remove(folder: Path, files: Sequence[str], known: dict[str, Any]) -> None:
    """Delete files of records that are no more, with what lies beside a figure."""
    kept = {file for entry in known.values() for file in entry["files"]}
    stems = {file.rpartition(".")[0] for file in kept}
    for file in files:
        stem = file.rpartition(".")[0]
        beside = [f"{stem}.json", f"{stem}.csv"] if stem not in stems else []
        for name in {file, *beside} - kept:
            (folder / name).unlink(missing_ok=True)


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
    """A digest of the inputs of figures: records, diagnoses, searches and the analysis itself."""
    causes = [
        *folder.glob("*/runs"),
        *folder.glob("*/diagnoses"),
        *folder.glob("*/failed_diagnoses"),
        *folder.glob(JOURNAL),
        *Path(__file__).parent.rglob("*.py"),
    ]
    facts = sorted((str(path.name), path.stat().st_mtime_ns) for path in causes)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]


@one_line()
def main() -> None:
    """The command line."""
    parser = CommandLine(__doc__)
    parser.add_argument(
        "folder",
        nargs="?",
        default=Path("outputs"),
        type=folder_of,
        help="a study's folder, or the one of all studies; default: outputs",
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
        try:
            with drawing(folder):
                made = make(folder, formats, arguments.style)
        except GradflowError as error:
            failed.append(f"{folder}: nothing to show: {error}")
            continue
        failed += [f"{folder}: {failure}" for failure in made.failures]
        print("".join(made.printed), end="")
        for note in made.notes:
            print(f"note: {folder.name}: {note}")
        for path in made.paths:
            print(path)
        if not made.paths and not made.failures:
            print(f"{folder}: figures and tables are up to date")
    if failed:
        sys.exit("\n".join(f"error: {text}" for text in failed))
