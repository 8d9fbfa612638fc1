"""A study's records as tidy frames: which runs, of one setting, plain and residual named."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from gradflow.analysis.tables import Table
from gradflow.config.run_id import NOT_IDENTITY, TWINS
from gradflow.config.saved import check_config
from gradflow.core.errors import GradflowError
from gradflow.records import SCHEMAS, read_records, read_runs
from gradflow.records.damage import damage_of, moved_aside
from gradflow.runs.status import CONFIG

# He et al. 2015 warm up depth 110 alone: a warm-up goes with a depth.
SWEPT = ("network_depth", "network_skip", "seed", "schedule_warmup_steps")
OUTCOMES = (
    "run_id",
    "status",
    "n_parameters",
    "macs",
    "final_train_error",
    "final_test_error",
    "final_train_loss",
    "steps_done",
    "diverged_at",
    "code_version",
    "torch_version",
)


@dataclass(frozen=True)
class Study:
    """The runs that a figure is made from.

    runs: the runs table, with `depth` and `twin` ("plain" or "residual") as columns.
    notes: what the reader of a figure must know: runs left out, diverged or unfinished.
    """

    folder: Path
    runs: pd.DataFrame
    notes: tuple[str, ...]

    def records(self, table: str, columns: Sequence[str], **where: object) -> pd.DataFrame:
        """A table of these runs with `depth`, `twin` and `seed` beside its columns."""
        rows = read_records(
            self.folder,
            table,
            columns=["run_id", *columns],
            where={"run_id": list(self.runs.run_id), **where},
        )
        return rows.merge(self.runs[["run_id", "depth", "twin", "seed"]], on="run_id")

    def diagnosis(self, name: str, table: str, columns: Sequence[str]) -> pd.DataFrame:
        """As `records`, of what `diagnostic=<name>` measured, and `at`: initialization or trained.

        Where it was measured with several options, those of most runs.

        Raises:
            GradflowError: it was not measured.
        """
        missing = GradflowError(
            f"{self.folder}: no {name} was measured; "
            f"python experiments/diagnose.py run={self.folder} diagnostic={name}"
        )
        if not any(self.folder.glob("*/diagnoses")):
            raise missing
        done = self.records("diagnoses", ["diagnostic_id"], name=name)
        if done.empty:
            raise missing
        chosen = done.groupby("diagnostic_id").run_id.nunique().idxmax()
        rows = self.records(table, ["step", *columns], diagnostic_id=chosen)
        return rows.assign(at=rows.step.map(lambda step: "trained" if step else "initialization"))

    def save_table(self, name: str, table: Table) -> list[Path]:
        """Write a table as Markdown, LaTeX and CSV, with where it came from."""
        return table.save(self.folder / "tables", name, self.provenance)

    @property
    def provenance(self) -> str:
        """One line: the study, how many runs, which code."""
        code = ", ".join(sorted(self.runs.code_version.unique()))
        return f"{self.folder.name}: {len(self.runs)} runs, {self.seeds}; code {code}"

    @property
    def seeds(self) -> str:
        """How many seeds a depth and twin has: "3 seeds", or "3 to 8 seeds" if they differ."""
        counts = self.runs.groupby(["depth", "twin"]).seed.nunique()
        fewest, most = int(counts.min()), int(counts.max())
        span = f"{most}" if fewest == most else f"{fewest} to {most}"
        return f"{span} seed{'s'[: most != 1]}"


def load_study(
    folder: Path, where: dict[str, str] | None = None, swept: Sequence[str] = ()
) -> Study:
    """The runs of a study that share one setting: all but depth, skip, seed and `swept` equal.

    Where a folder holds several settings, the one with most runs is taken and a note says
    what was left out; `where` (column -> value as text) chooses.

    Raises:
        GradflowError: no such folder, no finished run, or none that `where` matches.
    """
    runs = read_runs(folder)
    notes = damage_notes(folder)
    damaged = {run for run in runs.run_id if damage_of(folder / run)}
    runs = runs[~runs.run_id.isin(damaged)]
    if runs.empty:
        raise GradflowError("; ".join(notes))
    begun = {path.parent.name for path in folder.glob(f"*/{CONFIG}")}
    if unfinished := len(begun - set(runs.run_id) - damaged):
        notes.append(f"{unfinished} runs have not finished and are left out")
    for column, value in (where or {}).items():
        if column not in runs.columns:
            raise GradflowError(
                f"--where {column}: no such column; valid: {', '.join(runs.columns)}"
            )
        found = sorted(runs[column].astype(str).unique())
        runs = runs[runs[column].astype(str) == value]
        if runs.empty:
            raise GradflowError(
                f"--where {column}={value}: no such run; there are {', '.join(found)}"
            )
    runs, left_out = _largest_setting(runs, {*SWEPT, *swept})
    notes += left_out
    if len(versions := runs.code_version.unique()) > 1:
        notes.append(f"runs of {len(versions)} code versions: {', '.join(sorted(versions))}")
    if diverged := int((runs.status == "diverged").sum()):
        notes.append(f"{diverged} runs diverged and have no final error")
    runs = runs.assign(depth=runs.network_depth, twin=runs.network_skip.map(TWINS))
    notes += _wanting(runs)
    return Study(folder, runs.sort_values(["depth", "twin", "seed"]), tuple(notes))


def damage_notes(folder: Path) -> list[str]:
    """A line per damaged file of a study's runs: what is shown is without such a run's records."""
    lines = []
    for run in sorted(path.parent for path in folder.glob(f"*/{CONFIG}")):
        try:
            check_config(run / CONFIG)
        except GradflowError as error:
            lines.append(str(error))
        lines += [f"{line} (the run is left out)" for line in damage_of(run)]
        if aside := moved_aside(run):
            lines.append(f"{run}: damaged and moved aside: {', '.join(aside)}")
    return lines


def _wanting(runs: pd.DataFrame) -> list[str]:
    """What of the study's design leaves a figure without intervals, or without its twin."""
    notes = []
    if runs.seed.nunique() == 1:
        notes.append("one seed: there are no intervals, and no claim is made")
    if runs.twin.nunique() == 1:
        there = runs.twin.iloc[0]
        lacking = "residual" if there == "plain" else "plain"
        notes.append(f"only {there} networks: there are no {lacking} twins to compare them with")
    return notes


def _largest_setting(runs: pd.DataFrame, swept: set[str]) -> tuple[pd.DataFrame, list[str]]:
    setting = [c for c in SCHEMAS["runs"].names if c not in {*swept, *OUTCOMES}]
    setting = [c for c in setting if c not in NOT_IDENTITY and runs[c].nunique(dropna=False) > 1]
    if not setting:
        return runs, []
    groups = dict(list(runs.groupby(setting, dropna=False)))
    key = max(groups, key=lambda key: len(groups[key]))
    chosen = ", ".join(f"{c}={v}" for c, v in zip(setting, key, strict=True))
    note = (
        f"{len(runs) - len(groups[key])} runs of other settings left out; shown: {chosen} "
        "(--where chooses)"
    )
    return groups[key], [note]


def run_script(
    analyse: Callable[[Study, Sequence[str]], list[Path]],
    description: str,
    swept: Sequence[str] = (),
) -> None:
    """A script's command line: a study folder in, a list of written files out.

    `swept`: what a figure shows by itself, besides depth, skip and seed.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("folder", type=Path, help="a study's folder, such as outputs/degradation")
    parser.add_argument(
        "--where",
        nargs="*",
        default=[],
        metavar="COLUMN=VALUE",
        help="take the runs with these values in the runs table",
    )
    add_figure_options(parser)
    arguments = parser.parse_args()
    from gradflow.analysis.figures.style import for_venue  # which itself knows studies

    try:
        study = load_study(arguments.folder, _pairs(arguments.where), swept)
        for note in study.notes:
            print(f"note: {note}")
        with for_venue(arguments.style):
            for path in analyse(study, formats_of(arguments.format)):
                print(path)
    except GradflowError as error:
        sys.exit(f"error: {error}")


def add_figure_options(parser: argparse.ArgumentParser) -> None:
    """--format and --style."""
    parser.add_argument("--format", default="png,pdf", help="figure formats; default: png,pdf")
    parser.add_argument(
        "--style",
        default="web",
        help="where figures are to stand: neurips, icml, ieee, slides; default: web",
    )


def _pairs(where: list[str]) -> dict[str, str]:
    for text in where:
        if "=" not in text:
            raise GradflowError(f"--where {text}: must be COLUMN=VALUE, such as data_name=digits")
    return dict(text.split("=", 1) for text in where)


def formats_of(text: str) -> list[str]:
    """The value of --format as a list.

    Raises:
        GradflowError: an unknown format.
    """
    formats = text.split(",")
    for name in formats:
        if name not in ("png", "pdf", "svg"):
            raise GradflowError(f"--format {name}: choose among png, pdf, svg")
    return formats
