"""What a study would do and what it would cost: `dry_run=true`.

Prices come from ended runs of the same kind that this machine did itself, and for kinds
without any from about two seconds of their own training steps. (Records of another
processor or instruction set say nothing of this one.)
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from gradflow.config import RunConfig
from gradflow.config.run import UNDIAGNOSED
from gradflow.config.run_id import by_key, flatten
from gradflow.core import provenance
from gradflow.core.errors import DamageError
from gradflow.data.arrays import Shapes, shapes
from gradflow.networks import count_macs, count_parameters
from gradflow.probes import fires
from gradflow.records import ended_runs, read_records
from gradflow.runs.cost import (
    HANDLING,
    Kind,
    Prices,
    Work,
    disk_bytes,
    fit_prices,
    kind_of,
    makespan,
    run_work,
    step_work,
)
from gradflow.runs.planning import PlannedRun, cache_of
from gradflow.runs.timing import Timed, time_side_by_side
from gradflow.training.origin import instruction_set
from gradflow.training.tasks import network_of
from gradflow.training.torch_settings import prepare_torch

REFERENCE = Path("outputs/reference")
EXAMPLES = 3  # ended runs of one size of network that are looked at
SHAPE = ["network_name", "network_width", "data_name", "data_batch_size", "dtype"]

Measure = Callable[[Sequence[Sequence[tuple[RunConfig, int]]], int], list[Timed]]


class Case(NamedTuple):
    """A run that is to be done, and what decides its cost."""

    config: RunConfig
    facts: dict[str, Any]
    kind: Kind
    shapes: Shapes
    macs: int  # multiply-accumulates of one image's forward pass
    parameters: int


class Cost(NamedTuple):
    """What one run takes of the machine. (Its memory belongs here as well.)"""

    seconds: float
    disk: float  # bytes


def forecast(runs: Sequence[PlannedRun], workers: int, measure: Measure = time_side_by_side) -> str:
    """What a study would do and what it would cost, for people.

    Args:
        runs: with a decided dtype.
        measure: times networks of kinds that no ended run tells about; see gradflow.runs.timing.

    Raises:
        GradflowError: the data cannot be read.
    """
    wanted = [run for run in runs if run.is_wanted]
    counts = pd.Series([run.state for run in runs]).value_counts(sort=False)
    lines = [
        f"would do {len(wanted)} of {len(runs)} runs "
        f"({', '.join(f'{count} {state}' for state, count in counts.items())})"
    ]
    trained = [run for run in wanted if run.state != UNDIAGNOSED]
    costs, origin = _costs([run.config for run in trained], workers, measure)
    known = dict(zip((id(run) for run in trained), costs, strict=True))
    swept = differing([run.config for run in runs])
    for run in wanted:
        values = " ".join(f"{key}={_short(v)}" for key, v in swept(run.config).items())
        words = _words(known[id(run)]) if id(run) in known else "diagnosis only"
        lines.append(
            f"  {run.name:24} {run.state:12} {run.folder.name}  {words:24}  {values}".rstrip()
        )
    if trained:
        seconds = [cost.seconds for cost in costs]
        hours = sum(seconds) * trained[0].config.threads / 3600
        disk = sum(cost.disk for cost in costs) / 1e6
        lines.append(
            f"about {hours:.2g} core-hours, {makespan(seconds, workers) / 60:.1f} minutes "
            f"({workers} at a time) and {disk:.2g} MB, from {origin}"
        )
    if any(run.state == UNDIAGNOSED or run.config.diagnostic.name != "off" for run in wanted):
        lines.append("the time of diagnoses is not in it")
    return "\n".join(lines)


def differing(configs: Sequence[RunConfig]) -> Callable[[RunConfig], dict[str, Any]]:
    """What tells these configs apart: config -> the keys and values to be typed for it.

    A group that is chosen, such as network=unet, stands for the values that come with it.
    """
    values = [by_key(config) for config in configs]
    kept = []
    for key in dict.fromkeys(key for one in values for key in one):
        group, _, name = key.partition(".")
        choice = f"{group}.name"
        found: dict[Any, set[str]] = {}
        for one in values:
            if key in one:
                chosen = one.get(choice) if name != "name" else None
                found.setdefault(chosen, set()).add(repr(one[key]))
        if any(len(different) > 1 for different in found.values()):
            kept.append(key)

    def differing(config: RunConfig) -> dict[str, Any]:
        own = by_key(config)
        return {
            key.removesuffix(".name") if key != "study.name" else key: own[key]
            for key in kept
            if key in own
        }

    return differing


def _short(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"[{','.join(map(str, value))}]" if isinstance(value, list | tuple) else str(value)


def _words(cost: Cost) -> str:
    return f"about {cost.seconds:.2g} s, {cost.disk / 1e6:.2g} MB"


def _costs(configs: Sequence[RunConfig], workers: int, measure: Measure) -> tuple[list[Cost], str]:
    """The cost of each run, and where it is known from."""
    sized = _Sizes()
    cases = [sized.case(config) for config in configs]
    timed = _recorded(cases)
    origins = [f"{n} ended runs of this machine"] if (n := sum(map(len, timed.values()))) else []
    if untimed := _representatives([case for case in cases if case.kind not in timed]):
        found = measure(untimed, workers)
        origins.append(f"{len({repr(one.config) for one in found})} networks timed just now")
        for one in found:
            case = sized.case(one.config)
            step = step_work(case.facts, case.macs)
            timed.setdefault(case.kind, [])
            timed[case.kind] += [(step._replace(starts=1), one.start), (step, one.step)]
    prices = {kind: fit_prices(pairs) for kind, pairs in timed.items()}
    return [_cost(case, prices[case.kind]) for case in cases], " and ".join(origins)


def _cost(case: Case, prices: Prices) -> Cost:
    config, splits = case.config, (case.shapes.train, case.shapes.test)
    work = run_work(case.facts, case.macs, config.steps, splits)
    probed, detailed = (
        sum(fires(schedule, step, config.steps) for step in range(config.steps))
        for schedule in (config.probe, config.details)
    )
    disk = disk_bytes(config.network.depth, case.parameters, config.steps, probed, detailed)
    return Cost(HANDLING + prices.seconds(work), disk)


def _recorded(cases: Sequence[Case]) -> dict[Kind, list[tuple[Work, float]]]:
    """What ended runs of these kinds took on this machine, by kind; no kind without any."""
    shapes = {case.kind: case.shapes for case in cases}
    timed: dict[Kind, list[tuple[Work, float]]] = {}
    for row in _done_here(cases) if cases else []:
        kind = kind_of(row)
        if kind in shapes:
            splits = shapes[kind].train, shapes[kind].test
            work = run_work(row, row["macs"], row["steps_done"], splits)
            timed.setdefault(kind, []).append((work, row["seconds"]))
    return timed


def _done_here(cases: Sequence[Case]) -> Iterator[dict[str, Any]]:
    """Some ended runs of each size of network, of every study below `output_root` and of the
    reference, whose every attempt was on this processor and with this instruction set."""
    roots = Path(cases[0].config.output_root), REFERENCE
    wanted = {tuple(case.facts[key] for key in SHAPE) for case in cases}
    for study in dict.fromkeys(path.resolve() for root in roots for path in root.glob("[!.]*/")):
        runs = ended_runs(study)
        runs = runs[runs.seconds.notna()]
        for size, same in runs.groupby([*SHAPE, "network_depth"]):
            if size[:-1] in wanted:
                rows: list[dict[str, Any]] = same.tail(EXAMPLES).to_dict("records")  # type: ignore[assignment]  # columns are text
                yield from (row for row in rows if _was_here(study / row["run_id"], row["device"]))


def _was_here(run: Path, device: str) -> bool:
    try:
        attempts = read_records(run, "attempts", columns=["machine", "instruction_set"])
    except DamageError:
        return False
    machines, sets = attempts.machine.fillna(""), attempts.instruction_set
    return bool(
        machines.str.endswith(provenance.machine()).all()
        and (sets == instruction_set(device)).all()
    )


def _representatives(cases: Sequence[Case]) -> list[list[tuple[RunConfig, int]]]:
    """For each kind the residual network of each size, with its multiply-accumulates."""
    kinds: dict[Kind, dict[int, RunConfig]] = {}
    for case in cases:
        residual = replace(case.config, network=replace(case.config.network, skip=True), seed=0)
        kinds.setdefault(case.kind, {}).setdefault(case.macs, residual)
    return [[(config, macs) for macs, config in kind.items()] for kind in kinds.values()]


class _Sizes:
    """Sizes of networks and of data, found once for those that are equal."""

    def __init__(self) -> None:
        self._networks: dict[Any, tuple[int, int]] = {}
        self._shapes: dict[Any, Shapes] = {}

    def case(self, config: RunConfig) -> Case:
        facts = flatten(config)
        kind = kind_of(facts)
        source = config.data, cache_of(config)
        if source not in self._shapes:
            self._shapes[source] = shapes(*source)
        found = self._shapes[source]
        size = kind, config.network.depth, config.network.skip
        if size not in self._networks:
            prepare_torch(config)
            network = network_of(config, found.image, found.classes)
            self._networks[size] = count_macs(network, found.image), count_parameters(network)
        return Case(config, facts, kind, found, *self._networks[size])
