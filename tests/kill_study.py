"""Kill a study's processes at random moments until it has been killed often enough.

python -m tests.kill_study --kills 100

The same command is started again after each death of the whole; at the end the records and
weights equal those of an undisturbed study, bit for bit.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gradflow.records import read_records

ROOT = Path(__file__).parents[1]


def study(root: Path, steps: int, depths: str, seeds: str) -> list[str]:
    return [
        sys.executable,
        str(ROOT / "experiments/train.py"),
        "-m",
        f"network.depth={depths}",
        f"seed={seeds}",
        "network.width=4",
        "data.subset=128",
        "data.batch_size=32",
        f"steps={steps}",
        "checkpoint_seconds=0.3",
        "hydra.launcher.workers=2",
        "study.name=s",
        f"output_root={root}",
        "~hydra.callbacks.analysis",
    ]


def disturb(folder: Path, *, kills: int, seed: int, steps: int, depths: str, seeds: str) -> int:
    """An undisturbed study in folder/whole, a disturbed one in folder/parts; kills that hit."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(study(folder / "whole", steps, depths, seeds), check=True, **quiet)
    draw = random.Random(seed)
    done = 0
    while True:
        process = subprocess.Popen(
            study(folder / "parts", steps, depths, seeds), start_new_session=True, **quiet
        )
        before = done
        while process.poll() is None and done < kills:
            time.sleep(draw.uniform(0.5, 4))
            workers = _workers(process.pid)
            if not workers:
                continue
            if draw.random() < 0.3:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                os.kill(draw.choice(workers), signal.SIGKILL)
            done += 1
        status = process.wait()
        if status == 0:
            return done
        if done == before:  # a worker that dies while Dask starts may end the study with 1
            raise SystemExit(f"the study ended by itself, with status {status}")


def assert_done_once(study: Path) -> None:
    """No process began work on a run after the run had ended."""
    attempts = read_records(study, "attempts")
    for run, started in attempts.groupby("run_id").started.max().items():
        [row] = (study / str(run) / "runs").iterdir()
        assert started.timestamp() < row.stat().st_mtime, run


def _workers(group: int) -> list[int]:
    """Processes of the group that work on runs: those that its fork server has forked."""
    servers = _found("-P", str(group), "-f", "multiprocessing.forkserver")
    return [worker for server in servers for worker in _found("-P", str(server))]


def _found(*criteria: str) -> list[int]:
    found = subprocess.run(["pgrep", *criteria], capture_output=True, text=True)
    return [int(line) for line in found.stdout.split()]


def main() -> None:
    from tests.support.processes import assert_equal_records

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--steps", type=int, default=1600)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        done = disturb(
            folder, kills=arguments.kills, seed=0, steps=arguments.steps,
            depths="8,14,20", seeds="0,1,2,3",
        )  # fmt: skip
        assert_equal_records(folder / "whole" / "s", folder / "parts" / "s")
        assert_done_once(folder / "parts" / "s")
        print(f"{done} kills; 12 runs, records and weights equal those of an undisturbed study")


if __name__ == "__main__":
    main()
