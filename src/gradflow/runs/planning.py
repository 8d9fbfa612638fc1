"""Before a study runs: where each run belongs, and which are to be done."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from gradflow.config import RunConfig
from gradflow.config.data import IMAGES, TOKENS, DataConfig, kind_of
from gradflow.config.hydra_bridge import load_run_config, save_run_config
from gradflow.config.needs import Need
from gradflow.config.networks import TARGETS
from gradflow.config.run import DAMAGED, ONLY, UNDIAGNOSED
from gradflow.config.run_id import flatten, run_id, run_name
from gradflow.config.saved import check_config
from gradflow.core.errors import DamageError, GradflowError, shown
from gradflow.core.files import move_aside
from gradflow.core.progress import tell
from gradflow.data.arrays import fingerprint, shapes, split_sizes
from gradflow.records import ended_runs, pending, read_records
from gradflow.records.damage import config_damage, damage_of
from gradflow.runs.status import CONFIG, ENDED, state_of


@dataclass(frozen=True)
class PlannedRun:
    """A run with the folder that is its own, and what has become of it so far."""

    config: RunConfig
    folder: Path
    state: str

    @property
    def name(self) -> str:
        """The run's name for people, such as plain-56 seed 0."""
        return run_name(self.config.network.depth, self.config.network.skip, self.config.seed)

    @property
    def is_wanted(self) -> bool:
        """Whether it is to be done, of the runs that `only` asks for."""
        return self.state in ONLY[self.config.only]


def plan(config: RunConfig) -> PlannedRun:
    """Find a run's folder, <output_root>/<study>/<run id>, and its state there.

    Raises:
        GradflowError: the data cannot be read, or what would come after the training cannot be.
    """
    check(config)
    folder = Path(config.output_root) / config.study.name
    folder /= run_id(config, fingerprint(config.data, cache_of(config)))
    return PlannedRun(config, folder, _wanted_state(config, folder, state_of(folder)))


def plan_study(configs: Iterable[RunConfig]) -> list[PlannedRun]:
    """`plan` of many runs: each data set is read once, and each study's index.

    Raises:
        GradflowError: as `plan`.
    """
    data: dict[tuple[DataConfig, Path], str] = {}
    ended: dict[Path, dict[str, str]] = {}
    runs = []
    checked = set()
    for config in configs:
        asked = (
            config.data,
            config.diagnostic,
            config.study.analysis,
            _to_fit(config),
            config.network.lacks(),
        )
        if asked not in checked:
            check(config)
            checked.add(asked)
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
        state = _wanted_state(config, folder, state)
        runs.append(PlannedRun(config, folder, state))
    return runs


def check(config: RunConfig) -> None:
    """Refuse before the training what would fail after it.

    Raises:
        GradflowError: an analysis that does not exist, a diagnostic that the network or its data
            do not fit or of more images than there are, data that cannot be read, or that the
            network or its task does not fit.
    """
    _check_fit(config)
    if unknown := [name for name in config.study.analysis if name not in analyses()]:
        valid = ", ".join(analyses())
        raise GradflowError(f"study.analysis={shown(unknown[0])}: choose among {valid}")
    asked = config.diagnostic
    if asked.name != "off":
        asked.check_needs(_lacking(config))
        there = split_sizes(config.data, cache_of(config))[asked.split]
        if asked.images > there:
            asked.refuse("images", f"the {asked.split} split has {there}")


def _lacking(config: RunConfig) -> tuple[Need, ...]:
    """What the network and its data do not have."""
    tokens = kind_of(shapes(config.data, cache_of(config)).image) == TOKENS
    derivative: tuple[Need, ...] = ("gradient by the input",) if tokens else ()
    return (*config.network.lacks(), *derivative)


def _to_fit(config: RunConfig) -> tuple[str, str]:
    """Of a config: the family of its network, and the task."""
    return config.network.name, config.network.TASK if config.task == "family" else config.task


def _check_fit(config: RunConfig) -> None:
    network, task = _to_fit(config)
    there = shapes(config.data, cache_of(config))
    kind, needed = kind_of(there.image), TARGETS.get(task, there.targets)
    if kind not in config.network.TAKES:
        takes = " and ".join(config.network.TAKES)
        config.data.refuse("name", f"has {kind}, and network={network} takes {takes}")
    if needed != there.targets:
        fit = next(name for name, targets in TARGETS.items() if targets == there.targets)
        use = "family" if fit == config.network.TASK else fit
        why = f"its targets are {there.targets}, and task={task} needs {needed}; use task={use}"
        config.data.refuse("name", why)
    if config.data.augment and kind != IMAGES:
        config.data.refuse("augment", f"is for images, and data={config.data.name} has {kind}")


@cache
def analyses() -> tuple[str, ...]:
    """What `study.analysis` may name: the scripts of gradflow.analysis.studies, not imported."""
    found = find_spec("gradflow.analysis")
    folders = found.submodule_search_locations if found else None
    files = [file for folder in folders or () for file in Path(folder).glob("studies/*.py")]
    return tuple(sorted(file.stem for file in files if "\ndef main(" in file.read_text("utf-8")))


def _wanted_state(config: RunConfig, folder: Path, state: str) -> str:
    """An ended run may be damaged, or without the diagnosis that its config names."""
    if state not in ENDED:
        return state
    try:
        if damage_of(folder) or config_damage(folder):
            return DAMAGED
        return UNDIAGNOSED if pending(folder, config.diagnostic) else state
    except GradflowError:  # found since then; the run itself says so when it is done
        return DAMAGED


def cache_of(config: RunConfig) -> Path:
    """Where decoded data are kept."""
    return Path(config.output_root) / ".cache"


def announce(run: PlannedRun) -> None:
    """Make the run's folder with its config, by which a study knows that it is planned.

    A damaged config is moved aside and written again.

    Raises:
        GradflowError: the folder cannot be written to, or the config there cannot be read.
    """
    path = run.folder / CONFIG
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        if path.exists():
            try:
                check_config(path)
            except DamageError as error:
                aside = move_aside(path, run.folder)
                tell(f"{run.name}: {error}; moved to {aside.name} and written again")
    except OSError as error:
        raise GradflowError(f"{run.folder}: cannot be written to ({error})") from error
    if not path.exists():
        save_run_config(run.config, path)


def ended_config(run: Path) -> RunConfig:
    """The config of a run that has ended, in agreement with what its records say.

    Raises:
        DamageError: its config.yaml or its row is not what was written; names the file.
        GradflowError: one of them may not be read.
    """
    config = load_run_config(run / CONFIG)
    [row] = read_records(run, "runs").to_dict("records")
    for key, value in flatten(config).items():
        recorded = row.get(key)  # null in a row of an older version without the key
        if not pd.isna(recorded) and recorded != value:
            raise DamageError(
                f"{run / CONFIG}: {key} is {value}, but the run was made with {recorded}"
            )
    return config
