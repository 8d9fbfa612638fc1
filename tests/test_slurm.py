"""hydra/launcher=slurm: against a real SLURM where there is one, else against a shim of sbatch."""

import os
import stat
import subprocess

import pytest

from gradflow.checkpoint import CHECKPOINT
from gradflow.records import read_records
from tests.slurm_machine import jobs, slurm, why_not
from tests.test_interruptions import assert_equal_records, command, wait_for

LAUNCHER = [
    "hydra/launcher=slurm",
    "hydra.launcher.jobs=2",
    "hydra.launcher.interface=lo",
    'hydra.launcher.skip_directives=["--mem"]',  # the one node of the tests has no known memory
]

# Jobs run at once, in a process group of their own, and scancel ends the group.
SBATCH = """#!/bin/bash
cp "${@: -1}" "$SHIM/script"
copy="$SHIM/script.$$"
cp "$SHIM/script" "$copy"  # as the caller deletes its own
setsid bash "$copy" > "$SHIM/log" 2>&1 &
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/bash
for job in "$@"; do kill -TERM -- "-$job" 2> /dev/null; done; true
"""


def study(root, *overrides):
    return command(root, "-m", *overrides, "study.name=s")


@pytest.mark.slow
@pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
def test_a_cancelled_job_and_one_at_its_time_limit_lose_nothing(tmp_path):
    """Two jobs at a time on a real SLURM; records and weights equal those of a local study."""
    sweep = ["network.depth=20", "seed=0,1,2,3", "steps=2400", "checkpoint_seconds=2"]
    subprocess.run(study(tmp_path / "local", *sweep), capture_output=True, check=True)
    with slurm() as environment:
        process = subprocess.Popen(
            study(tmp_path / "slurm", *sweep, *LAUNCHER, "hydra.launcher.walltime='00:01:00'"),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        wait_for(lambda: len(list(tmp_path.glob(f"slurm/s/*/{CHECKPOINT}"))) == 2)
        running = jobs(environment, "RUNNING")
        assert len(running) == 2
        subprocess.run(["scancel", running[0]], env=environment, check=True)
        output, _ = process.communicate(timeout=900)
        assert process.returncode == 0, output
        assert "4 runs: 4 finished" in output
        assert running[0] in jobs(environment, "CANCELLED")
        assert jobs(environment, "TIMEOUT")
        wait_for(lambda: not jobs(environment, "RUNNING", "PENDING"))
    assert_equal_records(tmp_path / "local" / "s", tmp_path / "slurm" / "s")
    attempts = read_records(tmp_path / "slurm" / "s", "attempts")
    assert attempts.error.isna().groupby(attempts.run_id).sum().eq(1).all()  # each ended once


def test_a_study_through_a_shim_of_sbatch(tmp_path):
    """The job script is what a cluster would be given, and a study through it is complete."""
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(stat.S_IRWXU)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "SHIM": str(tmp_path),
    }
    done = subprocess.run(
        study(
            tmp_path / "out",
            *("network.depth=8", "seed=0,1", "steps=4", *LAUNCHER),
            *("hydra.launcher.queue=gpu", "hydra.launcher.cores=4"),
            "hydra.launcher.directives=['--gres=gpu:1']",
            "hydra.launcher.prologue=['echo prologue']",
        ),
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "2 runs: 2 finished" in done.stdout
    script = (tmp_path / "script").read_text()
    for line in ("-p gpu", "--cpus-per-task=4", "-t 01:00:00", "--gres=gpu:1"):
        assert f"#SBATCH {line}" in script
    assert "#SBATCH --mem" not in script
    assert script.index("export OMP_NUM_THREADS=1") < script.index("echo prologue")
    assert "--nthreads 1" in script


def test_without_sbatch_it_says_what_to_do(tmp_path):
    python = tmp_path / "bin"
    python.mkdir()
    done = subprocess.run(
        study(tmp_path / "out", "network.depth=8", "seed=0,1", "steps=4", *LAUNCHER),
        env={**os.environ, "PATH": str(python)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "there is no sbatch here" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "s").exists()  # and nothing is planned
