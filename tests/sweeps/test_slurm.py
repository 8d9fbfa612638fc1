"""hydra/launcher=slurm: against a real SLURM where there is one, else against a shim of sbatch."""

import os
import signal
import subprocess

import pytest

from gradflow.core.interrupts import LINE
from gradflow.training.checkpoint import CHECKPOINT
from tests.kill_study import assert_done_once
from tests.support.processes import assert_equal_records, command, wait_for
from tests.support.slurm import jobs, shim, slurm, why_not

LAUNCHER = [
    "hydra/launcher=slurm",
    "hydra.launcher.jobs=2",
    "hydra.launcher.interface=lo",
    'hydra.launcher.skip_directives=["--mem"]',  # the one node of the tests has no known memory
]


def study(root, *overrides):
    return command(root, "-m", *overrides, "study.name=s")


@pytest.mark.slow
@pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
def test_a_cancelled_job_and_one_at_its_time_limit_lose_nothing(tmp_path):
    """Two jobs at a time on a real SLURM; records and weights equal those of a local study."""
    # Long enough that a job meets its minute on a fast machine too.
    sweep = ["network.depth=20", "seed=0,1,2,3", "steps=7200", "checkpoint_seconds=2"]
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
    assert_done_once(tmp_path / "slurm" / "s")


REFUSED = {
    "no such partition": (
        ["hydra.launcher.queue=nope", *LAUNCHER],
        "sbatch: error: invalid partition specified: nope",
    ),
    "more memory than a node has": (
        [*LAUNCHER[:-1], "hydra.launcher.memory=900GB"],
        "sbatch: error: Memory specification can not be satisfied",
    ),
    "a script that fails at once": (
        [*LAUNCHER, "hydra.launcher.prologue=['echo no module cuda >&2; exit 3']"],
        "ended (FAILED) before its worker began: no module cuda",
    ),
}


@pytest.mark.slow
@pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
def test_what_slurm_refuses_ends_the_command_with_its_words(tmp_path):
    with slurm() as environment:
        for number, (overrides, said) in enumerate(REFUSED.values()):
            done = subprocess.run(
                study(tmp_path / str(number), "seed=0,1", "steps=4", *overrides),
                env=environment,
                capture_output=True,
                text=True,
                timeout=300,
            )
            assert done.returncode == 1
            [line] = done.stderr.splitlines()
            assert line.startswith("error: hydra/launcher=slurm: ")
            assert said in line
            assert not jobs(environment, "PENDING", "RUNNING")


@pytest.mark.slow
@pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
def test_ctrl_c_while_all_jobs_wait_cancels_them(tmp_path):
    with slurm() as environment:
        process = subprocess.Popen(
            study(
                tmp_path,
                *("seed=0,1", "steps=4", *LAUNCHER),
                "hydra.launcher.directives=['--begin=now+1hour']",
            ),
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for(lambda: jobs(environment, "PENDING"))
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 1
        assert errors.splitlines() == [LINE]
        wait_for(lambda: not jobs(environment, "PENDING", "RUNNING"))
    assert not list(tmp_path.rglob("*.pem"))


@pytest.mark.slow
def test_a_study_through_a_shim_of_sbatch(tmp_path):
    """The job script is what a cluster would be given, and a study through it is complete."""
    done = subprocess.run(
        study(
            tmp_path / "out",
            *("network.depth=8", "seed=0,1", "steps=4", *LAUNCHER),
            *("hydra.launcher.queue=gpu", "hydra.launcher.cores=4"),
            "hydra.launcher.directives=['--gres=gpu:1']",
            "hydra.launcher.prologue=['echo prologue']",
        ),
        env=shim(tmp_path),
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert "2 runs: 2 finished" in done.stdout
    script = (tmp_path / "script").read_text()
    for line in ("-p gpu", "--cpus-per-task=4", "-t 01:00:00", "--gres=gpu:1"):
        assert f"#SBATCH {line}" in script
    assert "#SBATCH --mem" not in script
    assert script.index("export OMP_NUM_THREADS=1") < script.index("echo prologue")
    assert "--nthreads 1" in script


@pytest.mark.slow
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
