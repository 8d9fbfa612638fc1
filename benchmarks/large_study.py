"""What a large study costs to look at: its states, its figures, tables and report.

    python -m benchmarks.large_study --runs 1000 --rows 10000

Records are simulated: so many runs of five depths, plain and residual, each with so many rows of
layers. Every command is timed in a process of its own, with its imports.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import psutil

from gradflow.config.probes import EveryConfig, InitializationConfig
from gradflow.config.run import EvaluationConfig, RunConfig, StudyConfig
from gradflow.config.run_id import flatten, run_id
from gradflow.core.provenance import code_version
from gradflow.data.sets.digits import DigitsConfig
from gradflow.networks.families.cifar_resnet import CifarResNetConfig
from gradflow.records import SCHEMAS, RecordWriter
from gradflow.runs.planning import PlannedRun, announce
from gradflow.training.optimizers.sgd import SGDConfig
from gradflow.training.schedules.warmup_cosine import WarmupCosineConfig

ROOT = Path(__file__).parents[1]
DEPTHS = (8, 20, 32, 56, 110)
ANALYSIS = ("degradation", "gradient_highway", "ledger", "verdict")


def simulate(root: Path, runs: int, rows: int, data: str = "simulated") -> Path:
    """A study's folder with so many finished runs on data of that fingerprint; its path."""
    folder = root / "large"
    for number in range(runs):
        depth = DEPTHS[number % len(DEPTHS)]
        skip = bool(number // len(DEPTHS) % 2)
        config = RunConfig(
            network=CifarResNetConfig(depth=depth, width=8, skip=skip),
            data=DigitsConfig(),
            optimizer=SGDConfig(),
            schedule=WarmupCosineConfig(),
            probe=EveryConfig(every=1),
            details=InitializationConfig(),
            evaluation=EvaluationConfig(),
            seed=number // (2 * len(DEPTHS)),
            steps=max(1, rows // depth),
            study=StudyConfig(name="large", analysis=ANALYSIS),
            output_root=str(root),
        )
        run = PlannedRun(config, folder / run_id(config, data), "missing")
        announce(run)
        _write(run, np.random.default_rng(number), data)
    return folder


def _write(run: PlannedRun, rng: np.random.Generator, data: str) -> None:
    config = run.config
    depth, steps = config.network.depth, config.steps
    blocks = (depth - 2) // 2 + 1
    error = float(rng.uniform(0, 0.1) + (0 if config.network.skip else depth / 200))
    with RecordWriter(run.folder, run.folder.name) as writer:
        step = np.arange(steps)
        writer.add(
            "steps", step=step, epoch=step // 22, loss=rng.lognormal(size=steps), error=0.5,
            learning_rate=0.05, grad_norm=1.0, clipped_grad_norm=1.0,
        )  # fmt: skip
        writer.add(
            "layers",
            step=np.repeat(step, depth),
            layer_index=np.tile(np.arange(depth), steps),
            layer_name=[f"layer{index}" for index in range(depth)] * steps,
            block_index=np.tile(np.arange(depth) // 2, steps),
            kind="Conv2d",
            **{name: rng.lognormal(size=depth * steps) for name in
               ("grad_norm", "weight_norm", "update_norm")},
        )  # fmt: skip
        count = blocks * steps
        share = rng.uniform(size=count)
        writer.add(
            "blocks",
            step=np.repeat(step, blocks),
            block_index=np.tile(np.arange(blocks), steps),
            **{name: rng.lognormal(size=count) for name in
               ("input_rms", "branch_rms", "input_grad_norm", "skip_grad_norm",
                "branch_grad_norm")},
            skip_share=share if config.network.skip else np.zeros(count),
        )  # fmt: skip
        writer.add(
            "network_details", step=[0], path_grad_norm=[0.1], path_share=[0.1],
            example_cosine=[0.1], signal_to_noise=[1.0],
        )  # fmt: skip
        for split in ("train", "test"):
            writer.add(
                "evaluations",
                step=[steps],
                split=[split],
                loss=[1.0],
                error=[error],
                batch_error=[None],
            )
        now = datetime.now(UTC)
        attempt = dict.fromkeys(SCHEMAS["attempts"].names[1:])
        writer.add("attempts", **attempt | {"started": now, "ended": now, "wall_seconds": 1.0})
        writer.flush()
        row = {
            **dict.fromkeys(SCHEMAS["runs"].names[1:]),
            **flatten(config),
            "status": "finished",
            "steps_done": steps,
            "final_train_error": error,
            "final_test_error": error + 0.02,
            "final_train_loss": 1.0,
            "n_parameters": 10_000,
            "macs": 1_000_000,
            "data_fingerprint": data,
            "code_version": code_version(),
            "torch_version": "-",
        }
        writer.add("runs", **row)


def timed(command: list[str]) -> tuple[float, float]:
    """Wall seconds of a process, and gigabytes at its peak: what is resident in it and in its
    children together (pages that they share count twice)."""
    started = time.perf_counter()
    process = psutil.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):
            family = [process, *process.children(recursive=True)]
            peak = max(peak, sum(member.memory_info().rss for member in family))
        time.sleep(0.05)
    if process.returncode:
        sys.exit(f"error: {' '.join(command)} failed")
    return time.perf_counter() - started, peak / 2**30


def main() -> None:
    """Simulate a study and time each command on it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=10_000, help="of layers, per run")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        folder = simulate(Path(root), arguments.runs, arguments.rows)
        total = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
        print(f"{arguments.runs} runs, {arguments.runs * arguments.rows:,} rows of layers, "
              f"{total / 1e6:.0f} MB")  # fmt: skip
        python, analysis = sys.executable, ROOT / "analysis"
        for name, command in {
            "states, first reading": [python, str(analysis / "status.py"), str(folder)],
            "states": [python, str(analysis / "status.py"), str(folder)],
            "figures, tables, report": [python, str(analysis / "report.py"), str(folder)],
            "the same again": [python, str(analysis / "report.py"), str(folder)],
        }.items():
            seconds, memory = timed(command)
            print(f"{name:26} {seconds:6.1f} s  {memory:5.2f} GB", flush=True)


if __name__ == "__main__":
    main()
