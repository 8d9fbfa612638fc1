"""Records of runs that nobody trained: whole studies in a second, with every probe's tables."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from gradflow.config.run import RunConfig, StudyConfig
from gradflow.config.run_id import flatten, run_id
from gradflow.core.provenance import code_version
from gradflow.data.sets.digits import DigitsConfig
from gradflow.networks.families.cifar_resnet import CifarResNetConfig
from gradflow.records import HISTOGRAM_EDGES, SCHEMAS, RecordWriter
from gradflow.runs.planning import PlannedRun, announce
from gradflow.training.optimizers.sgd import SGDConfig
from tests.support.configs import small_config

STEPS = (0, 3, 7)  # measured, of eight


def config_of(
    root: Path,
    study: str,
    *,
    depth: int = 8,
    skip: bool = True,
    seed: int = 0,
    norm: str = "batch",
    rate: float = 0.1,
    analysis: Sequence[str] = (),
    **data: object,
) -> RunConfig:
    """One of the networks that the studies of the tests are made of."""
    config = small_config(
        root,
        seed=seed,
        network=CifarResNetConfig(depth=depth, width=4, skip=skip, norm=norm),
        optimizer=SGDConfig(learning_rate=rate),
        study=study,
    )
    images = DigitsConfig(**{"batch_size": 32, "subset": 128, **data})  # type: ignore[arg-type]
    return replace(config, data=images, study=StudyConfig(name=study, analysis=tuple(analysis)))


def simulate(config: RunConfig, status: str = "finished", data: str = "simulated") -> Path:
    """The folder of a run that ended so; of a missing run its config alone. Errors differ from
    run to run, and those of plain networks rise with depth and rate."""
    folder = Path(config.output_root) / config.study.name / run_id(config, data)
    announce(PlannedRun(config, folder, "missing"))
    if status == "missing":
        return folder
    rng = np.random.default_rng(int(folder.name, 16) % 2**32)
    network = config.network
    error = 0.02 + 0.05 * rng.uniform() + (0 if network.skip else network.depth / 60)
    error = min(0.9, error + abs(np.log10(config.optimizer.learning_rate) + 1) / 10)
    with RecordWriter(folder, folder.name) as writer:
        _measured(writer, rng, network.depth, network.skip)
        for split in ("train", "test"):
            writer.add(
                "evaluations",
                step=[8],
                split=[split],
                loss=[1.0],
                error=[error],
                batch_error=[None],
            )
        now = datetime.now(UTC)
        attempt = dict.fromkeys(SCHEMAS["attempts"].names[1:])
        writer.add("attempts", **attempt | {"started": now, "ended": now, "wall_seconds": 1.0})
        writer.flush()
        if status == "unfinished":
            return folder
        finished = status == "finished"
        writer.add(
            "runs",
            **{
                **dict.fromkeys(SCHEMAS["runs"].names[1:]),
                **flatten(config),
                "status": status,
                "steps_done": 8 if finished else 5,
                "diverged_at": None if finished else 5,
                "final_train_error": error if finished else None,
                "final_test_error": error + 0.02 if finished else None,
                "final_train_loss": 1.0 if finished else None,
                "n_parameters": 10_000,
                "macs": 1_000_000,
                "data_fingerprint": data,
                "code_version": code_version(),
                "torch_version": "-",
            },
        )
    return folder


def _measured(writer: RecordWriter, rng: np.random.Generator, depth: int, skip: bool) -> None:
    """Every table that probes write."""
    step = np.arange(8)
    writer.add(
        "steps", step=step, epoch=step // 4, loss=np.exp(-step / 4 + rng.normal(0, 0.1, 8)),
        error=np.full(8, 0.5), learning_rate=np.full(8, 0.05), grad_norm=rng.lognormal(size=8),
        clipped_grad_norm=np.ones(8),
    )  # fmt: skip
    blocks, measured = (depth - 2) // 2 + 1, len(STEPS)

    def drawn(count: int) -> np.ndarray:
        return rng.lognormal(sigma=0.3, size=count)

    layers: dict[str, Any] = {
        "layer_index": np.tile(np.arange(depth), measured),
        "layer_name": [f"layer{index}" for index in range(depth)] * measured,
        "block_index": np.tile(np.arange(depth) // 2, measured),
        "kind": "Conv2d",
    }
    names: tuple[str, ...] = ("grad_norm", "weight_norm", "update_norm")
    writer.add(
        "layers", step=np.repeat(STEPS, depth), **layers,
        **{name: drawn(depth * measured) for name in names},
    )  # fmt: skip
    names = ("input_rms", "branch_rms", "input_grad_norm", "skip_grad_norm", "branch_grad_norm")
    writer.add(
        "blocks",
        step=np.repeat(STEPS, blocks),
        block_index=np.tile(np.arange(blocks), measured),
        **{name: drawn(blocks * measured) for name in names},
        elsewhere_grad_norm=np.zeros(blocks * measured),
        block_name=[f"block{index}" for index in range(blocks)] * measured,
        reason=[None] * (blocks * measured),
        skip_share=rng.uniform(size=blocks * measured) * skip,
        stream_shares=[None] * (blocks * measured),
    )
    first = {name: values[:depth] for name, values in layers.items() if name != "kind"}
    histogram = np.zeros(len(HISTOGRAM_EDGES) + 1, dtype=int)
    histogram[20:40] = 5
    writer.add(
        "layer_details", step=np.zeros(depth, int), **first, kind="Conv2d",
        zero_fraction=rng.uniform(size=depth), histogram=[histogram.tolist()] * depth,
    )  # fmt: skip
    writer.add(
        "block_details", step=np.zeros(blocks, int), block_index=np.arange(blocks),
        input_mean=drawn(blocks), input_variance=drawn(blocks),
        dead_fraction=rng.uniform(size=blocks),
    )  # fmt: skip
    writer.add(
        "network_details", step=[0], path_grad_norm=[0.1], path_share=[0.3 * skip],
        example_cosine=[float(rng.uniform())], signal_to_noise=[float(rng.uniform())],
    )  # fmt: skip
