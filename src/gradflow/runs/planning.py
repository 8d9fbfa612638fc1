"""Before a study runs: where each run belongs, which are to be done, what they will cost."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from gradflow.config import RunConfig
from gradflow.config.data import DataConfig
from gradflow.config.hydra_bridge import save_run_config
from gradflow.config.run import ONLY, UNDIAGNOSED
from gradflow.config.run_id import flatten, run_id, run_name
from gradflow.data.arrays import fingerprint
from gradflow.records import ended_runs, pending
from gradflow.runs.status import CONFIG, ENDED, disk_use, state_of


@dataclass(frozen=True)
class PlannedRun:
    """A run with the folder that is its own, and what has become of it so far."""

    config: RunConfig
    folder: Path
    state: str

    @property
    def name(self) -> str:
        return run_name(self.config.network.depth, self.config.network.skip, self.config.seed)

    @property
    def is_wanted(self) -> bool:
        """Whether it is to be done, of the runs that `only` asks for."""
        return self.state in ONLY[self.config.only]


def plan(config: RunConfig) -> PlannedRun:
    """Find a run's folder, <output_root>/<study>/<run id>, and its state there.

    Raises:
        GradflowError: the data cannot be read.
    """
    folder = Path(config.output_root) / config.study.name
    folder /= run_id(config, fingerprint(config.data, cache_of(config)))
    state = UNDIAGNOSED if pending(folder, config.diagnostic) else state_of(folder)
    return PlannedRun(config, folder, state)


def plan_study(configs: Iterable[RunConfig]) -> list[PlannedRun]:
    """`plan` of many runs: each data set is read once, and each study's index.

    Raises:
        GradflowError: the data cannot be read.
    """
    data: dict[tuple[DataConfig, Path], str] = {}
    ended: dict[Path, dict[str, str]] = {}
    runs = []
    for config in configs:
        source = config.data, cache_of(config)
        if source not in data:
            data[source] = fingerprint(*source)
        study = Path(config.output_root) / config.study.name
        if study not in ended:
            ended[study] = {}
            if study.is_dir():
                known = ended_runs(study)
                ended[study] = dict(zip(known.run_id, known.status, strict=True))
        folder = study / run_id(config, data[source])
        state = ended[study].get(folder.name) or state_of(folder)
        if state in ENDED and pending(folder, config.diagnostic):
            state = UNDIAGNOSED
        runs.append(PlannedRun(config, folder, state))
    return runs


def cache_of(config: RunConfig) -> Path:
    """Where decoded data are kept."""
    return Path(config.output_root) / ".cache"


def announce(run: PlannedRun) -> None:
    """Make the run's folder with its config, by which a study knows that it is planned."""
    if not (run.folder / CONFIG).exists():
        run.folder.mkdir(parents=True, exist_ok=True)
        save_run_config(run.config, run.folder / CONFIG)


def forecast(runs: Sequence[PlannedRun], workers: int) -> str:
    """What a study would do and what it would cost, for people.

    Time and disk of a run are those of the ended runs most like it, whichever study of the
    same `output_root` they are from, in proportion to depth and steps.
    """
    wanted = [run for run in runs if run.is_wanted]
    counts = pd.Series([run.state for run in runs]).value_counts(sort=False)
    lines = [
        f"would do {len(wanted)} of {len(runs)} runs "
        f"({', '.join(f'{count} {state}' for state, count in counts.items())})"
    ]
    timed = _timed_runs(Path(runs[0].config.output_root))
    costs = [_cost(run.config, timed) for run in wanted]
    for run, cost in zip(wanted, costs, strict=True):
        told = "" if cost is None else f"  about {cost[0]:.0f} s, {cost[1] / 1e6:.1f} MB"
        lines.append(f"  {run.name:24} {run.state:12} {run.folder.name}{told}")
    if timed.empty and wanted:
        lines.append("no run has been timed yet, so nothing is known of the cost")
    elif wanted:
        known = [cost for cost in costs if cost is not None]
        seconds, size = (sum(column) for column in zip(*known, strict=True))
        threads = wanted[0].config.threads
        minutes = seconds / 60 / workers
        lines.append(
            f"about {seconds * threads / 3600:.2g} core-hours, {minutes:.1f} minutes "
            f"({workers} at a time), and {size / 1e6:.1f} MB, from {len(timed)} runs already timed"
        )
    return "\n".join(lines)


def _timed_runs(root: Path) -> pd.DataFrame:
    """The ended runs of all studies below `root`, with their `seconds` and `bytes`."""
    found = []
    for study in sorted(root.glob("[!.]*/")):
        runs = ended_runs(study)
        if len(runs):
            found.append(runs.assign(bytes=[disk_use(study / run) for run in runs.run_id]))
    return pd.concat(found) if found else pd.DataFrame()


def _cost(config: RunConfig, timed: pd.DataFrame) -> tuple[float, float] | None:
    """Seconds and bytes."""
    if timed.empty:
        return None
    facts = flatten(config)
    alike = sum((timed[key] == value).astype(int) for key, value in facts.items() if key != "seed")
    like = timed[alike == alike.max()]
    # A diverged run ended early; what it did is what it took.
    scale = config.network.depth * config.steps / (like.network_depth * like.steps_done)
    return float((like.seconds * scale).median()), float((like.bytes * scale).median())
