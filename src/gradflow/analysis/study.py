"""A study's records as tidy frames: which runs, of one setting, plain and residual named."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from gradflow.analysis.settings import key_of, levels, value_text
from gradflow.analysis.swept import Setting, of_setting, settings_of, swept_keys, tied_keys
from gradflow.config.run_id import TWINS
from gradflow.core.errors import GradflowError
from gradflow.records import failures, read_records, read_runs
from gradflow.records.damage import config_damage, damage_of, moved_aside
from gradflow.runs.status import CONFIG, ONLY_WATCHED, without_watched

MOMENTS = {"first": "at initialization", "last": "at the last step"}
"""The first and the last measured step of a run, and the title of their panels."""

MOST_DAMAGED = 3  # lines of damaged files among the notes of a figure


@dataclass(frozen=True)
class Study:
    """The runs that a figure is made from: of a whole study, or of one of its settings.

    runs: the runs table, with `depth` and `twin` ("plain" or "residual") as columns.
    of_study: limitations of the study that all its figures state: damaged and unfinished runs.
    setting: what tells these runs from the others of the study; empty: there are no others.
    others: the settings of the study that are not shown.
    every: the ids of all ended runs of the study.
    """

    folder: Path
    runs: pd.DataFrame
    of_study: tuple[str, ...] = ()
    setting: Setting = field(default_factory=dict)
    others: tuple[Setting, ...] = ()
    every: tuple[str, ...] = ()

    def split(self, shown: Sequence[str] = ()) -> list["Study"]:
        """A study per setting: in each all is equal but depth, skip, seed and the keys `shown`.

        A study of one setting is not split.
        """
        keys = [name for name in swept_keys(self.runs) if name not in shown]
        found = settings_of(self.runs, keys)
        if len(found) == 1:
            return [self]
        return [
            replace(
                self,
                runs=of_setting(self.runs, setting),
                setting={**self.setting, **setting},
                others=(*self.others, *(other for other in found if other != setting)),
            )
            for setting in found
        ]

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Limitations that every figure of these runs states."""
        runs, notes = self.runs, list(self.of_study)
        if len(versions := runs.code_version.unique()) > 1:
            notes.append(f"runs of {len(versions)} code versions: {', '.join(sorted(versions))}")
        if diverged := int((runs.status == "diverged").sum()):
            notes.append(f"{diverged} runs diverged and have no final error")
        if tied := tied_keys(runs):
            names = ", ".join(map(key_of, tied))
            notes.append(f"differ together with what was swept: {names}")
        notes += failures(self.folder, set(runs.run_id))
        if runs.seed.nunique() == 1:
            notes.append("one seed: there are no intervals, and no claim is made")
        if runs.twin.nunique() == 1:
            there = runs.twin.iloc[0]
            lacking = "residual" if there == "plain" else "plain"
            notes.append(
                f"only {there} networks: there are no {lacking} twins to compare them with"
            )
        return tuple(notes)

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
            f"gradflow diagnose run={self.folder} diagnostic={name}"
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
    """Each run's rows of its first or last measured step; `moment`: of `MOMENTS`. A run measured
    at one step alone, as with probe=initialization, has no last one."""
    steps = rows.groupby("run_id")["step"]
    first, last = steps.transform("min"), steps.transform("max")
    if moment == "first":
        return rows[rows["step"] == first]
    return rows[(rows["step"] == last) & (last > first)]


def load_study(folder: Path, where: Mapping[str, str] | None = None) -> Study:
    """The ended runs of a study, of all its settings: `Study.split` has one each.

    Args:
        folder: the study's.
        where: column or key -> value as text; the runs that have it.

    Raises:
        GradflowError: no such folder, no finished run but watched ones, which are of no study, or
            none that `where` matches.
    """
    runs = without_watched(read_runs(folder))
    if runs.empty:
        raise GradflowError(f"{folder}: {ONLY_WATCHED}")
    notes = damage_notes(folder)
    damaged = {run for run in runs.run_id if damage_of(folder / run)}
    runs = runs[~runs.run_id.isin(damaged)]
    if damaged:
        notes.append(f"{len(damaged)} runs with damaged records are left out")
    if runs.empty:
        raise GradflowError("; ".join(notes))
    every = tuple(sorted(runs.run_id))
    started = {path.parent.name for path in folder.glob(f"*/{CONFIG}")}
    if unfinished := len(started - set(runs.run_id) - damaged):
        notes.append(f"{unfinished} runs have not finished and are left out")
    runs, setting, others = _matching(runs, where or {})
    runs = runs.assign(depth=runs.network_depth, twin=runs.network_skip.map(TWINS))
    runs = runs.sort_values(["depth", "twin", "seed"])
    return Study(folder, runs, tuple(notes), setting, others, every)


def _matching(
    runs: pd.DataFrame, where: Mapping[str, str]
) -> tuple[pd.DataFrame, Setting, tuple[Setting, ...]]:
    """The runs with these values, the values as a setting, and the values that others have."""
    setting: dict[str, Any] = {}
    others: list[Setting] = []
    for key, text in where.items():
        column = key.replace(".", "_")
        if column not in runs.columns:
            raise GradflowError(f"--where {key}: no such column; valid: {', '.join(runs.columns)}")
        found = {value_text(value): value for value in levels(runs[column])}
        value = next((v for name, v in found.items() if text in (name, str(v))), ...)
        if value is ...:
            raise GradflowError(f"--where {key}={text}: no such run; there are {', '.join(found)}")
        chosen = of_setting(runs, {column: None if value_text(value) == "null" else value})
        others += [{column: v} for v in found.values() if v is not value]
        setting[column] = value
        runs = chosen
    return runs, setting, tuple(others)


def damage_notes(folder: Path) -> list[str]:
    """A line per damaged file of a study's runs, up to `MOST_DAMAGED`, and how many more there are:
    what is shown is without such a run's records, and must have room beside its notes."""
    lines = []
    begun = {path.parent for path in folder.glob(f"*/{CONFIG}")}
    for run in sorted(begun | {path.parent for path in folder.glob("*/runs")}):
        lines += [*config_damage(run), *damage_of(run)]
        if aside := moved_aside(run):
            lines.append(f"{run}: damaged and moved aside: {', '.join(aside)}")
    if (more := len(lines) - MOST_DAMAGED) > 0:
        lines[MOST_DAMAGED:] = [f"{more} more damaged files: gradflow status {folder} names them"]
    return lines
