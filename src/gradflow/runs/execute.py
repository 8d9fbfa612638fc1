"""One run from config to finished folder."""

import time
import traceback
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gradflow.config import RunConfig
from gradflow.config.run_id import flatten
from gradflow.core.errors import DamageError
from gradflow.core.interrupts import on_signals, terminating_as_interrupt
from gradflow.core.locks import held, lock_of
from gradflow.core.progress import Reporter, RunResult, reporter, tell
from gradflow.data.dataset import Dataset, load_dataset
from gradflow.networks import count_macs, count_parameters
from gradflow.records import SCHEMAS, RecordWriter, has_ended, pending, read_records
from gradflow.records.damage import damage_of, mend_ended
from gradflow.runs.planning import PlannedRun, announce, cache_of, plan
from gradflow.runs.precision import resolved
from gradflow.runs.status import ENDED
from gradflow.training.checkpoint import (
    Saved,
    discard_checkpoints,
    origins_of,
    resume,
    save_final,
)
from gradflow.training.loop import train
from gradflow.training.origin import circumstances, present_origin
from gradflow.training.pruning import Pruned, judge_of
from gradflow.training.tasks import network_of, placed
from gradflow.training.torch_settings import prepare_torch, weights_dtype


def execute(config: RunConfig) -> RunResult:
    """Train the network that `config` describes and leave one run folder.

    The folder is <output_root>/<study>/<run id>. A run that has ended already is not
    done again; one that was interrupted resumes from its checkpoint, at exactly the step where it
    stopped; one that another process works on is waited for.

    Then its diagnosis is made, if the config names one and it is missing.

    Raises:
        Interrupted: Ctrl-C or SIGTERM came; the same call resumes from there.
        GradflowError: the data, the device or the folder cannot be used; nothing is left
            behind that reads as a run.
    """
    prepare_torch(config)
    config = resolved(config)
    run = plan(config)
    if config.dry_run or (run.state not in ENDED and not run.is_wanted):
        return RunResult(run.folder, run.state, True, None)
    with on_signals(), held(lock_of(run.folder)):
        result = _ended(run)
        if result is not None and not pending(run.folder, config.diagnostic):
            return result
        dataset = load_dataset(config.data, cache_of(config))
        if result is None:
            announce(run)
            with reporter(run.name, config.steps) as report:
                try:
                    result = _attempt_twice(run, dataset, report)
                except Pruned:
                    return RunResult(run.folder, "pruned", False, None)
        with terminating_as_interrupt():  # nothing is lost: it is made whole, or anew
            diagnosed = _diagnose(config, run.folder, dataset)
        return result._replace(skipped=result.skipped and not diagnosed)


def _ended(run: PlannedRun) -> RunResult | None:
    """How a run ended; None if it has not, or if records of its training are damaged: it is done
    again."""
    if not has_ended(run.folder):
        return None
    announce(run)  # if its config is damaged
    for line in mend_ended(run.folder):
        tell(f"{run.name}: {line}")
    if not has_ended(run.folder):
        return None
    row = read_records(run.folder, "runs").iloc[0]
    return RunResult(run.folder, row.status, True, row.final_train_error)


def _attempt_twice(run: PlannedRun, dataset: Dataset, report: Reporter) -> RunResult:
    """A run whose records prove damaged when it ends is resumed from before them, once."""
    try:
        return _attempt(run, dataset, report)
    except DamageError as error:
        tell(f"{run.name}: {error}; its rows are made again")
        return _attempt(run, dataset, report)


def diagnose_ended(config: RunConfig, folder: Path) -> None:
    """Make the diagnosis that `config` names of the ended run in `folder`, wherever it lies.

    Raises:
        GradflowError: as `execute`; or the diagnostic does not fit the network.
    """
    prepare_torch(config)
    cache = folder.parents[1] / cache_of(config).name
    with on_signals(), held(lock_of(folder)), terminating_as_interrupt():
        _diagnose(config, folder, load_dataset(config.data, cache))


def _diagnose(config: RunConfig, folder: Path, dataset: Dataset) -> bool:
    if not pending(folder, config.diagnostic):
        return False
    from gradflow.runs.diagnosis import diagnose

    return diagnose(config, folder, dataset)


def _attempt(run: PlannedRun, dataset: Dataset, report: Reporter) -> RunResult:
    folder = run.folder
    started = datetime.now(UTC)
    clock = time.perf_counter()
    error: BaseException | None = None
    share: float | None = None
    resumed: Saved | None = None
    present = present_origin(run.config.device)
    with RecordWriter(folder, folder.name) as writer:
        try:
            resumed = resume(folder, run.name, present, force=run.config.resume == "force")
            row, share = _train_and_summarise(run, dataset, writer, report, resumed)
            writer.flush()
            for line in damage_of(folder):
                raise DamageError(line)
        except BaseException as raised:
            error = raised
            raise
        finally:
            writer.add(
                "attempts",
                started=started,
                ended=datetime.now(UTC),
                wall_seconds=time.perf_counter() - clock,
                recording_share=share,
                **circumstances(run.config.device),
                resumed_from=None if resumed is None else str(resumed),
                error=None if error is None else f"{type(error).__name__}: {error}",
                traceback=None if error is None else traceback.format_exc(),
            )
        # The row of the runs table says that a run has ended, so it is written after all others.
        writer.compact()
        writer.add("runs", **row)
    discard_checkpoints(folder)
    return RunResult(folder, row["status"], False, row["final_train_error"])


def _train_and_summarise(
    run: PlannedRun,
    dataset: Dataset,
    writer: RecordWriter,
    report: Reporter,
    resumed: Saved | None,
) -> tuple[dict[str, Any], float]:
    """Train; the row of the runs table that says how it ended, and the share of recording."""
    config = run.config
    network = network_of(config, dataset.image_shape, dataset.classes)
    macs = count_macs(network, dataset.image_shape)
    network = placed(network, config, weights_dtype(config))
    dataset, judge = dataset.to(config.device), judge_of(config)
    outcome = asdict(train(config, network, dataset, writer, report, run.name, judge, resumed))
    share = outcome.pop("recording_share")
    origins = origins_of(resumed, present_origin(config.device))
    save_final(writer.folder, network)
    row = {
        # A key that the chosen group class does not have stays null.
        **dict.fromkeys(SCHEMAS["runs"].names[1:]),
        **flatten(config),
        **outcome,
        "status": "finished" if outcome["diverged_at"] is None else "diverged",
        "data_fingerprint": dataset.fingerprint,
        "n_parameters": count_parameters(network),
        "macs": macs,
        # Of all its steps: more than one of each after resume=force.
        "code_version": ", ".join(dict.fromkeys(origin.code_version for origin in origins)),
        "torch_version": ", ".join(dict.fromkeys(origin.torch_version for origin in origins)),
    }
    return row, share
