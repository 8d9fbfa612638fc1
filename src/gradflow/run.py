"""One run from config to finished folder."""

import time
import traceback
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from gradflow import runtime
from gradflow.checkpoint import discard_checkpoint, save_final
from gradflow.config import RunConfig
from gradflow.config.door import save_run_config
from gradflow.config.identity import flatten, run_id
from gradflow.config.networks import NetworkConfig
from gradflow.data import Dataset, load_dataset
from gradflow.networks import count_macs, count_parameters, make_network
from gradflow.progress import Reporter, RunResult, reporter
from gradflow.records import SCHEMAS, RecordWriter, read_records
from gradflow.stopping import on_signals
from gradflow.training import train


def execute(config: RunConfig) -> RunResult:
    """Train the network that `config` describes and leave one run folder.

    The folder is <output_root>/<study>/<run id>. A run that has ended already is not
    done again; one that was interrupted goes on from its checkpoint, at the very step.

    Raises:
        Interrupted: Ctrl-C or SIGTERM came; the same call goes on from there.
        GradflowError: the data, the device or the folder cannot be used; nothing is left
            behind that reads as a run.
    """
    runtime.prepare_torch(config)
    root = Path(config.output_root)
    dataset = load_dataset(config.data, root / ".cache")
    identity = run_id(config, dataset.fingerprint)
    folder = root / config.study.name / identity
    locks = root / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / f"{config.study.name}-{identity}.lock"):
        if (folder / "runs").is_dir():
            row = read_records(folder, "runs").iloc[0]
            return RunResult(folder, row.status, True, row.final_train_error)
        folder.mkdir(parents=True, exist_ok=True)
        save_run_config(config, folder / "config.yaml")
        name = label(config.network, config.seed)
        with on_signals(), reporter(name, config.steps) as report:
            return _attempt(config, dataset, folder, report)


def label(network: NetworkConfig, seed: int) -> str:
    """A short name for people, such as plain-56 seed 0."""
    return f"{'residual' if network.skip else 'plain'}-{network.depth} seed {seed}"


def _attempt(config: RunConfig, dataset: Dataset, folder: Path, report: Reporter) -> RunResult:
    started = datetime.now(UTC)
    clock = time.perf_counter()
    error: BaseException | None = None
    share: float | None = None
    with RecordWriter(folder, folder.name) as writer:
        try:
            row, share = _train_and_summarise(config, dataset, writer, report)
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
                host=runtime.host(),
                code_version=runtime.code_version(),
                git_commit=runtime.git_commit(),
                torch_version=torch.__version__,
                error=None if error is None else f"{type(error).__name__}: {error}",
                traceback=None if error is None else traceback.format_exc(),
            )
        # The row of the runs table says that a run has ended, so it is written after all others.
        writer.compact()
        writer.add("runs", **row)
    discard_checkpoint(folder)
    return RunResult(folder, row["status"], False, row["final_train_error"])


def _train_and_summarise(
    config: RunConfig, dataset: Dataset, writer: RecordWriter, report: Reporter
) -> tuple[dict[str, Any], float]:
    """Train; the row of the runs table that says how it ended, and the share of recording."""
    network = make_network(config.network, dataset.image_shape, dataset.classes, config.seed)
    macs = count_macs(network, dataset.image_shape)
    network = network.to(config.device, getattr(torch, config.dtype))
    # On a CPU the 6n+2 networks step 1.1 to 1.3 times faster so; sums round in another order.
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    name = label(config.network, config.seed)
    outcome = asdict(train(config, network, dataset.to(config.device), writer, report, name))
    share = outcome.pop("recording_share")
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
        "code_version": runtime.code_version(),
        "torch_version": torch.__version__,
    }
    return row, share
