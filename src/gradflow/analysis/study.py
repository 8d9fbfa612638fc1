"""A study's records as tidy frames: which runs, of one setting, plain and residual named."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from gradflow.config.run_id import NOT_IDENTITY, TWINS
from gradflow.core.errors import GradflowError
from gradflow.records import SCHEMAS, failures, read_records, read_runs
from gradflow.records.damage import config_damage, damage_of, moved_aside
from gradflow.runs.status import CONFIG

# He et al. 2015 warm up depth 110 alone: a warm-up belongs to a depth.
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


MOMENTS = {"first": "at initialization", "last": "at the last step"}
"""The first and the last measured step of a run, and the title of their panels."""


@dataclass(frozen=True)
class Study:
    """The runs that a figure is made from.

    runs: the runs table, with `depth` and `twin` ("plain" or "residual") as columns.
    notes: limitations that every figure states: runs left out, diverged or unfinished.
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

        If it was measured with several options, those of most runs.

        Raises:
            GradflowError: it was not measured.
        """
        missing = GradflowError(
            f"{self.folder}: no {name} was measured; "
            f"python experiments/diagnose.py run={self.folder} diagnostic={name}"
        )
        if not any(self.folder.glob("*/diagnoses/part-*.parquet")):
            raise missing
        done = self.records("diagnoses", ["diagnostic_id"], name=name)
        if done.empty:
            raise missing
        chosen = done.groupby("diagnostic_id").run_id.nunique().idxmax()
        rows = self.records(table, ["step", *columns], diagnostic_id=chosen)
        return rows.assign(at=rows.step.map(lambda step: "trained" if step else "initialization"))

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


def at(rows: pd.DataFrame, moment: str) -> pd.DataFrame:
    """Each run's rows of its first or last measured step; `moment`: of `MOMENTS`."""
    steps = rows.groupby("run_id")["step"]
    return rows[rows["step"] == steps.transform("min" if moment == "first" else "max")]


def load_study(
    folder: Path, where: dict[str, str] | None = None, swept: Sequence[str] = ()
) -> Study:
    """The runs of a study that share one setting: all but depth, skip, seed and `swept` equal.

    If a folder holds several settings, the one with most runs is taken and a note says what was
    left out; `where` (column -> value as text) chooses another.

    Raises:
        GradflowError: no such folder, no finished run, or none that `where` matches.
    """
    runs = read_runs(folder)
    notes = damage_notes(folder)
    damaged = {run for run in runs.run_id if damage_of(folder / run)}
    runs = runs[~runs.run_id.isin(damaged)]
    if damaged:
        notes.append(f"{len(damaged)} runs with damaged records are left out")
    if runs.empty:
        raise GradflowError("; ".join(notes))
    started = {path.parent.name for path in folder.glob(f"*/{CONFIG}")}
    if unfinished := len(started - set(runs.run_id) - damaged):
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
    notes += failures(folder, set(runs.run_id))
    runs = runs.assign(depth=runs.network_depth, twin=runs.network_skip.map(TWINS))
    notes += _limitations(runs)
    return Study(folder, runs.sort_values(["depth", "twin", "seed"]), tuple(notes))


def damage_notes(folder: Path) -> list[str]:
    """A line per damaged file of a study's runs: what is shown is without such a run's records."""
    lines = []
    for run in sorted(path.parent for path in folder.glob(f"*/{CONFIG}")):
        lines += [*config_damage(run), *damage_of(run)]
        if aside := moved_aside(run):
            lines.append(f"{run}: damaged and moved aside: {', '.join(aside)}")
    return lines


def _limitations(runs: pd.DataFrame) -> list[str]:
    """Why a figure has no intervals, or no twins."""
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
