"""The report of a study as one self-contained page; for a folder of studies, an index page too.

gradflow report outputs/degradation
gradflow report outputs
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pandas as pd

from gradflow.analysis import settings
from gradflow.analysis.ending import ending
from gradflow.analysis.frames import dicts
from gradflow.analysis.inferred import analyses_of
from gradflow.analysis.make import Made, make, studies_in
from gradflow.analysis.report.answer import answer, figure_order
from gradflow.analysis.report.explorer import explorer
from gradflow.analysis.report.pages import embedded_figures, embedded_tables, html_of, render
from gradflow.analysis.report.run_page import make_run_page
from gradflow.analysis.report.runs import table_of_runs
from gradflow.analysis.study import load_study
from gradflow.analysis.watched import is_watched
from gradflow.config.run_id import TWINS
from gradflow.core.command_line import CommandLine
from gradflow.core.door import folder_of, one_line
from gradflow.core.errors import GradflowError
from gradflow.core.files import atomic_write
from gradflow.core.locks import drawing
from gradflow.records import ended_runs
from gradflow.runs.status import ENDED, study_states

PAGE, INDEX = "report.html", "index.html"
FORMATS = ("png", "pdf", "svg")
VERDICT = "verdict"
SHOWN_ERRORS = 5
NAMED = 3  # settings of an outcome, in a line


class Report(NamedTuple):
    """The sentence that the page begins with, the files written, what the scripts printed, the
    notes on the page, the scripts that failed, with the reason, and whether any run has ended."""

    answer: str
    paths: list[Path]
    printed: list[str]
    notes: list[str]
    failures: list[str]
    any_ended: bool = True


def make_report(folder: Path) -> Report:
    """Write a study's page, after its figures and tables that are not up to date.

    Raises:
        GradflowError: the folder holds no run.
    """
    states = study_states(folder)
    runs = ended_runs(folder)
    notes = state_notes(states)
    made = Made([], [], [], [])
    facts: dict[str, Any] = {"explorer": None, "verdict": None, "figures": [], "tables": []}
    facts |= {"versions": [], "varied": [], "fixed": []}
    if len(runs):
        made = make(folder, FORMATS, "web")
        notes += [*made.notes, *(f"not shown: {failure}" for failure in made.failures)]
        study = load_study(folder)
        notes = list(dict.fromkeys([*study.notes, *notes]))
        varied, fixed = settings.settings(study.runs)
        facts |= {"varied": varied, "fixed": fixed}
        facts["versions"] = settings.versions(folder, study.runs)
        order = figure_order(folder, list(analyses_of(folder, study.runs)))
        facts["figures"] = embedded_figures(folder, list(study.runs.run_id), notes, order)
        words = sorted(folder.glob(f"tables/{VERDICT}.md"))
        facts["tables"] = embedded_tables(folder, [path.stem for path in words])
        facts["verdict"] = [html_of(path.read_text()) for path in words]
        facts["explorer"] = explorer(study)
        if not facts["explorer"]:
            notes.append("no gradients were recorded (probe=off), so there is no profile of them")
    sentence = answer(runs, verdict_line(folder))
    page = render(
        "report.html",
        name=folder.name,
        question=settings.question(folder.name),
        answer=sentence,
        counts=counts_of(states),
        hours=hours_of(states),
        notes=notes,
        twins=list(TWINS.values())[::-1],
        runs=table_of_runs(folder, states),
        failures=[
            (f"{r['name']} ({r['run_id']})", r["error"]) for r in dicts(states) if r["error"]
        ],
        commands=settings.commands(folder),
        **facts,
    )
    path = folder / PAGE
    atomic_write(path, page)
    paths = [*made.paths, path]
    return Report(sentence, paths, made.printed, notes, made.failures, len(runs) > 0)


def state_notes(states: pd.DataFrame) -> list[str]:
    """Runs that are missing from a study's results: still running, or failed."""
    counts = states.state.value_counts()
    notes = []
    if running := counts.get("running", 0):
        notes.append(f"the study is still running: {running} of {len(states)} runs in progress")
    if not states.state.isin(ENDED).any():
        notes.append(f"none of its {len(states)} runs has finished")
    if failed := counts.get("failed", 0):
        notes.append(f"{failed} runs failed")
        errors = states.error[states.state == "failed"].dropna().unique()
        notes += [f"failed: {error}" for error in errors[:SHOWN_ERRORS]]
    return notes + [line for text in states.damage.dropna() for line in text.split("\n")]


def verdict_line(folder: Path) -> str:
    """The verdict's words with their depths, or with the number of settings (by depth) that they
    hold in; empty if there is no verdict."""
    path = folder / "tables" / "verdict.csv"
    if not path.exists():
        return ""
    try:
        table = pd.read_csv(path)
        words = table.outcome.str.replace(r" \(.*", "", regex=True)
        if "setting" in table.columns:
            table["place"] = table.setting + " at depth " + table.depth.astype(str)
            parts = [
                f"{word} in {len(places)} of {len(table)} settings and depths ("
                + "; ".join(places[:NAMED]) + (", ..." if len(places) > NAMED else "") + ")"
                for word, places in table.place.groupby(words, sort=False)
            ]  # fmt: skip
        else:
            parts = [
                f"{word} at depth {', '.join(map(str, depths))}"
                for word, depths in table.depth.groupby(words, sort=False)
            ]
    except (ValueError, AttributeError):
        return f"{path}: is damaged; delete it and make the report again"
    return "; ".join(parts)


def counts_of(states: pd.DataFrame) -> str:
    """The number of runs in each state."""
    counts = states.state.value_counts().sort_index()
    return f"{len(states)} runs: {', '.join(f'{n} {state}' for state, n in counts.items())}"


def hours_of(states: pd.DataFrame) -> str:
    """The core-hours of the runs."""
    hours = states.seconds.sum() / 3600
    return f"{hours:.2g} core-hours" if hours else ""


def make_index(root: Path) -> Path:
    """Write the page of all studies below a folder."""
    studies = []
    for folder in studies_in(root):
        states = study_states(folder)
        link = f"./{quote(folder.name)}/{PAGE}" if (folder / PAGE).exists() else ""
        studies.append(
            {
                "name": folder.name,
                "folder": str(folder),
                "question": settings.question(folder.name),
                "counts": counts_of(states),
                "verdict": verdict_line(folder),
                "link": link,
                "notes": state_notes(states),
            }
        )
    path = root / INDEX
    atomic_write(path, render("index.html", name=root.name, studies=studies))
    return path


def _pages(folder: Path) -> tuple[list[Path], list[Report], list[Path]]:
    """The studies in a folder, what was made of each, and the page of all of them."""
    if (folder / "config.yaml").exists():
        raise GradflowError(f"{folder}: is one run; give its study, {folder.parent}")
    studies = studies_in(folder)
    reports = []
    for study in studies:
        with drawing(study):
            reports.append(make_report(study))
    return studies, reports, [make_index(folder)] if studies != [folder] else []


def _watched_in(folder: Path) -> str:
    """Which of its folders to give, of one that holds watched runs and no study."""
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    runs = [path for path in inside if path.is_dir() and is_watched(path)]
    return f"; of its {len(runs)} watched runs give one, such as {runs[0]}" if runs else ""


@one_line()
def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = CommandLine(__doc__)
    parser.add_argument(
        "folder", type=folder_of, help="a study's folder, one of many studies, or a watched run's"
    )
    parser.add_argument("--files", action="store_true", help="print tables and list all files")
    chosen = parser.parse_args(arguments)
    folder: Path = chosen.folder
    try:
        if is_watched(folder):
            print(*make_run_page(folder), sep="\n")
            return
        studies, reports, index = _pages(folder)
    except GradflowError as error:
        sys.exit(f"error: {error}{_watched_in(folder)}")
    failed = []
    for study, report in zip(studies, reports, strict=True):
        failed += report.failures
        if not report.any_ended:
            failed.append(f"{study}: {'; '.join(report.notes)}; page: {study / PAGE}")
            continue
        if chosen.files:
            print("".join(report.printed), end="")
            print("\n".join(map(str, report.paths)))
        for note in report.notes:
            print(f"note: {study.name}: {note}")
        print(ending(study, study / PAGE, report.answer))
    for path in index:
        print(path)
    if failed:
        sys.exit("\n".join(f"error: {failure}" for failure in failed))
