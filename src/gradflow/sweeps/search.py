"""`gradflow tune`: Optuna's proposals as the jobs of a sweep, batch by batch."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from gradflow.analysis import tables
from gradflow.config import RunConfig
from gradflow.config.hydra_bridge import text_of, to_config
from gradflow.config.run_id import digest, flatten
from gradflow.core.errors import GradflowError
from gradflow.core.files import atomic_write
from gradflow.data.arrays import fingerprint
from gradflow.records import read_records
from gradflow.runs.planning import cache_of, check, plan
from gradflow.runs.status import ENDED
from gradflow.sweeps.grid import Values, mapping, mappings, written
from gradflow.sweeps.job_configs import JobComposer
from gradflow.sweeps.searched import distribution, ends_of, is_list, quoted
from gradflow.training.pruning import open_search

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution

    Space = dict[str, BaseDistribution]

INVALID = "invalid"  # of a trial, why its proposal was no config; no run of it failed
LOCK = ".search.lock"
"""Held by the process that searches in a study's folder."""


@dataclass(frozen=True)
class Cell:
    """One combination of what is listed: it has a best of its own, and a search for it."""

    overrides: tuple[str, ...]  # all but those that are searched
    title: str  # what is listed, such as network.depth=8 network.skip=true
    name: str  # of its search
    config: RunConfig


class SearchSweeper(Sweeper):
    """Lists are a grid; interval(), range() and choice() are searched, in each of its cells.

    Args:
        params: key -> values, as a study's file gives them; the command line replaces them.
        variants: the keys that differ together, a mapping for each; each has its own cells.
    """

    def __init__(self, params: Values | None, variants: Sequence[Values] | None = None):
        self.params = mapping("params", params or {})
        self.variants = mappings(variants) or [{}]

    launcher: Launcher

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what the trials are composed from, and the launcher that runs them."""
        self.config = config
        self.loader = hydra_context.config_loader
        self.composer = JobComposer(hydra_context, config)
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.jobs = 0

    def sweep(self, arguments: list[str]) -> None:
        """Search in every cell until it has its trials; print and write the best of each.

        Raises:
            GradflowError: nothing is to be searched, another process searches here, or
                runs failed (after the others ended).
        """
        space, cells = self._parse(arguments)
        refuse_impossible(cells, space, self.composer)
        folder = Path(cells[0].config.output_root) / cells[0].config.study.name
        if cells[0].config.dry_run:
            trials = cells[0].config.search.trials
            print(f"would search {', '.join(space)} with {trials} trials in each of:")
            print("\n".join(f"  {cell.title}" for cell in cells))
            return
        if check := getattr(self.launcher, "check", None):  # Hydra's own launchers have none
            check()
        folder.mkdir(parents=True, exist_ok=True)
        try:
            # Not <journal>.lock: that one is Optuna's.
            with FileLock(folder / LOCK).acquire(timeout=0):
                while jobs := [job for cell in cells for job in self._batch(cell, space)]:
                    self._run(jobs)
        except Timeout as error:
            raise GradflowError(f"{folder}: another process searches here") from error
        table = best_table([(c, open_search(c.config, c.name)) for c in cells], list(space))
        path = folder / "tables" / "search.md"
        path.parent.mkdir(exist_ok=True)
        atomic_write(path, f"{table}\n")
        print(f"{table}\n{path}")
        failed = sum(
            trial.state.name == "FAIL" and INVALID not in trial.user_attrs
            for cell in cells
            for trial in open_search(cell.config, cell.name).trials
        )
        if failed:
            raise GradflowError(f"{failed} trials failed; gradflow status {folder} names them")

    def _parse(self, arguments: list[str]) -> tuple["Space", list[Cell]]:
        space: Space = {}
        cells: dict[str, Cell] = {}
        for variant in self.variants:
            own, found = self._cells(variant, arguments)
            if cells and own != space:
                raise GradflowError("every variant must search the same keys, in the same ranges")
            space = own
            cells |= {cell.name: cell for cell in found}
        return space, list(cells.values())

    def _cells(self, variant: Values, arguments: list[str]) -> tuple["Space", list[Cell]]:
        given = [*written(self.params), *written(variant), *arguments]
        parsed = OverridesParser.create(self.loader).parse_overrides(given)
        parsed = list({override.key_or_group: override for override in parsed}.values())
        space: Space = {}
        fixed: list[str] = []
        named: list[str] = []
        listed: list[list[str]] = []
        for override in parsed:
            if not override.is_sweep_override():
                own = override.key_or_group in variant
                (named if own else fixed).append(str(override.input_line))
            elif is_list(override):
                key = override.get_key_element()
                texts = [str(value) for value in override.sweep_string_iterator()]
                shown = [t.lower() if t in ("True", "False") else t for t in texts]
                listed.append([f"{key}={text}" for text in shown])
            else:
                space[override.get_key_element()] = distribution(override)
        if not space:
            raise GradflowError(
                "nothing to search: give a key an interval(), a range() or a choice(), such as "
                "'optimizer.learning_rate=tag(log,interval(0.001,1))'"
            )
        cells = []
        for values in itertools.product(*listed):
            overrides = (*fixed, *named, *values)
            config = to_config(self.composer.compose(overrides, 0), RunConfig)
            flat = {k.replace(".", "_") for k in space}
            facts = {k: v for k, v in flatten(config).items() if k not in flat}
            facts |= {k: str(v) for k, v in space.items()}
            facts["objective"] = config.search.objective
            title = " ".join([*named, *values]) or "all"
            cells.append(Cell(overrides, title, f"{title} {digest(facts)}", config))
        return space, cells

    def _batch(self, cell: Cell, space: "Space") -> list[tuple[Cell, int, list[str]]]:
        """The next trials of a cell: those left over from a search that was killed, or new.

        A proposal that is no valid config (a depth between two that exist, two values that do
        not go together) is a failed trial, and a line says so; the next batch has another.
        """
        import optuna

        study = open_search(cell.config, cell.name)
        jobs: list[tuple[Cell, int, list[str]]] = []
        while not jobs:
            left = study.get_trials(states=[optuna.trial.TrialState.RUNNING])
            ended = len(study.trials) - len(left)
            wanted = min(cell.config.search.batch, cell.config.search.trials - ended) - len(left)
            trials = [*left, *(study.ask(space) for _ in range(max(wanted, 0)))]
            if not trials:
                break
            for trial in trials:
                overrides = [
                    *cell.overrides,
                    *(f"{key}={value}" for key, value in trial.params.items()),
                    f"search.study={quoted(cell.name)}",
                    f"search.trial={trial.number}",
                ]
                try:
                    self.composer.typed(overrides)
                except GradflowError as error:
                    print(f"note: trial {trial.number} of {cell.title}: {error}")
                    key = study._storage.get_trial_id_from_study_id_trial_number(
                        study._study_id, trial.number
                    )
                    study._storage.set_trial_user_attr(key, INVALID, str(error))
                    study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
                else:
                    jobs.append((cell, trial.number, overrides))
        return jobs

    def _run(self, jobs: list[tuple[Cell, int, list[str]]]) -> None:
        """Run trials and tell how they ended, which is read from their records."""
        from optuna.trial import TrialState

        from gradflow.runs.precision import resolved

        try:
            self.launcher.launch([overrides for *_, overrides in jobs], self.jobs)
        except GradflowError as error:  # the others have ended, and it is said at the end
            print(f"note: {error}")
        self.jobs += len(jobs)
        for cell, number, overrides in jobs:
            run = plan(resolved(to_config(self.composer.compose(overrides, 0), RunConfig)))
            study = open_search(cell.config, cell.name)
            if run.state in ENDED:
                row = read_records(run.folder, "runs").iloc[0]
                value = float(row[cell.config.search.objective])
                study.tell(number, math.inf if math.isnan(value) else value)
            else:
                state = TrialState.PRUNED if run.state == "pruned" else TrialState.FAIL
                study.tell(number, state=state)


def refuse_impossible(cells: Sequence[Cell], space: "Space", composer: JobComposer) -> None:
    """Compose each cell with the ends of every interval and with each choice.

    Raises:
        GradflowError: a searched key does not exist, or can have no value of its range; or
            what `gradflow.runs.planning.check` refuses.
    """
    ends = {key: ends_of(searched) for key, searched in space.items()}
    for cell in cells:
        check(cell.config)
        fingerprint(cell.config.data, cache_of(cell.config))
        first = {key: values[0] for key, values in ends.items()}
        for key, values in ends.items():
            for value in values:
                given = {**first, key: value}
                words = [f"{name}={proposed}" for name, proposed in given.items()]
                try:
                    composer.typed([*cell.overrides, *words])
                except OmegaConfBaseException as error:
                    raise GradflowError(text_of(error)) from error


def best_table(searches: Sequence[tuple[Cell, "Study"]], keys: Sequence[str]) -> tables.Table:
    """The best of each cell, and how its trials ended."""
    objective = searches[0][0].config.search.objective
    rows = []
    for cell, study in searches:
        best = study.best_trial if _count(study, "COMPLETE") else None
        row: dict[str, tables.Cell] = {"of": cell.title}
        row |= {key: _short(best.params[key]) if best else "-" for key in keys}
        row |= {objective: f"{best.value:.4g}" if best else "-", "trials": len(study.trials)}
        row |= {"pruned": _count(study, "PRUNED"), "failed": _count(study, "FAIL")}
        rows.append(row)
    return tables.Table(rows)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _count(study: "Study", state: str) -> int:
    return sum(trial.state.name == state for trial in study.trials)
