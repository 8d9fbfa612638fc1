"""Runs that end their worker: tried once more, then failed with the reason; the others finish."""

import os
import signal
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from distributed import TimeoutError as NotYet

from gradflow.config import RunConfig
from gradflow.core.errors import GradflowError
from gradflow.core.interrupts import Killed
from gradflow.records import read_records
from gradflow.records.set_aside import CHECKPOINT
from gradflow.runs.memory import peak_memory
from gradflow.runs.planning import PlannedRun
from gradflow.runs.status import study_states
from gradflow.sweeps.deaths import BEGUN, DIED, IDLE_DEATHS, OVER_LIMIT, Deaths
from gradflow.sweeps.dispatch import Dispatch
from gradflow.sweeps.fitting import alike, shortage
from gradflow.sweeps.local import LocalLauncher
from tests.support.configs import small_config
from tests.support.processes import assert_equal_records, command

# Python imports it in every process; workers are forked from the one that it changes.
# Runs of these seeds end their worker.
CRASHES = """
import ctypes, os, signal, sys

def crash(config):
    crashes.get(config.seed, lambda: None)()
    return execute(config)

if any("forkserver" in argument for argument in sys.orig_argv):
    import gradflow.runs.execute

    execute = gradflow.runs.execute.execute
    gradflow.runs.execute.execute = crash
    crashes = {
        1: lambda: ctypes.string_at(0),
        2: lambda: os.kill(os.getpid(), signal.SIGKILL),
        3: lambda: os._exit(3),
        4: lambda: [b"x" * 10**7 for _ in range(1000)],
    }
"""

# The same, for runs that die after each of their checkpoints.
KILLED_AFTER_CHECKPOINTS = """
import os, signal, sys

def fatal(*arguments):
    save(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

if any("forkserver" in argument for argument in sys.orig_argv):
    from gradflow.training.checkpoint import Checkpoints

    save = Checkpoints.save
    Checkpoints.save = fatal
"""


def study(root, module, *overrides):
    (root / "sitecustomize.py").write_text(module)
    return subprocess.run(
        command(root / "out", "-m", "steps=4", "study.name=s", *overrides),
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=900,
    )


def assert_failed(done, folder: Path, reasons: dict[int, str]) -> None:
    """The runs of these seeds failed and say why, in one line and in their records."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    states = study_states(folder).set_index("name")
    for seed, reason in reasons.items():
        row = states.loc[f"residual-8 seed {seed}"]
        assert row.state == "failed"
        said = f"the worker died twice on this run: {reason}"
        assert row.error.startswith(f"WorkerDied: {said}")
        lines = done.stderr.splitlines()
        assert (
            len([x for x in lines if x.startswith(f"residual-8 seed {seed}: failed: {said}")]) == 1
        )
        attempts = read_records(folder / row.run_id, "attempts").sort_values("started")
        assert len(attempts) == 2
        assert attempts.error.iloc[0].startswith("Interrupted: the worker died")
        assert (attempts.wall_seconds > 0).all()


def test_a_segmentation_fault_fails_its_run_alone(tmp_path):
    done = study(tmp_path, CRASHES, "network.depth=8", "seed=1,0", "hydra.launcher.workers=1")
    assert_failed(done, tmp_path / "out" / "s", {1: "signal 11 (SIGSEGV)"})
    assert "2 runs: 1 finished, 1 failed" in done.stdout


@pytest.mark.slow
def test_every_end_of_a_worker_is_named(tmp_path):
    limit = ("hydra.launcher.workers=2", "hydra.launcher.memory_limit=1.2GB")
    done = study(tmp_path, CRASHES, "network.depth=8", "seed=1,2,3,4,0,5", *limit)
    reasons = {1: "signal 11 (SIGSEGV)", 2: "signal 9 (SIGKILL)", 3: "exit status 3"}
    reasons[4] = "memory 1."
    assert_failed(done, tmp_path / "out" / "s", reasons)
    assert "used of a limit of 1.20 GB" in done.stderr
    assert "6 runs: 2 finished, 4 failed" in done.stdout


@pytest.mark.slow
def test_a_run_that_makes_progress_between_deaths_is_not_failed(tmp_path):
    options = ("network.depth=8", "seed=0,1", "hydra.launcher.workers=1", "checkpoint_seconds=0")
    done = study(tmp_path, KILLED_AFTER_CHECKPOINTS, *options)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("the run is resumed") == 6  # after steps 1, 2, 3 of both
    whole = command(tmp_path / "whole", "-m", "steps=4", "study.name=s", *options)
    subprocess.run(whole, check=True, capture_output=True)
    assert_equal_records(tmp_path / "whole" / "s", tmp_path / "out" / "s")


@pytest.mark.slow
def test_a_limit_that_no_worker_keeps_ends_the_study(tmp_path):
    options = ("network.depth=8", "seed=0,1", "hydra.launcher.memory_limit=120MB")
    done = study(tmp_path, "", *options)
    assert done.returncode == 1
    assert "of a limit of 0.12 GB" in done.stderr
    assert "Traceback" not in done.stderr


class Reports:
    """A client whose events the test sends, a topic each."""

    def __init__(self):
        self.handlers = {}

    def subscribe_topic(self, topic, handler):
        self.handlers[topic] = handler

    def register_plugin(self, plugin):
        pass

    def send(self, topic, **event):
        self.handlers[topic]((0.0, event))


def test_what_is_known_of_a_death():
    client = Reports()
    deaths = Deaths(client)
    client.send(BEGUN, worker="a", job=7, started=1.0, host="h")
    assert deaths.began("a", 7)
    assert not deaths.began("a", 8)
    assert not deaths.began("b", 7)
    assert deaths.take("a") is None
    client.send(OVER_LIMIT, worker="a", pid=1, rss=2.06e9)
    client.send(DIED, worker="a", exit_code=-signal.SIGTERM, limit=2.1e9)
    death = deaths.take("a")
    assert death.reason == "memory 2.06 GB used of a limit of 2.10 GB"
    assert death.attempt == {"job": 7, "started": 1.0, "host": "h"}
    client.send(BEGUN, worker="b", job=7)
    deaths.look({"b": {"metrics": {"memory": 3.1e9}}})
    client.send(DIED, worker="b", exit_code=-signal.SIGKILL, limit=2.1e9)
    assert deaths.take("b").reason == "signal 9 (SIGKILL), memory 3.10 GB when last seen"


def test_progress_is_a_newer_checkpoint(tmp_path):
    deaths = Deaths(Reports())
    checkpoint = tmp_path / CHECKPOINT
    assert not deaths.is_second(0, tmp_path)
    assert deaths.is_second(0, tmp_path)
    assert not deaths.is_second(1, tmp_path)
    for moment in (1, 2):
        checkpoint.touch()
        os.utime(checkpoint, ns=(moment, moment))
        assert not deaths.is_second(0, tmp_path)
    assert deaths.is_second(0, tmp_path)


def test_idle_workers_that_die_end_a_study():
    client = Reports()
    deaths = Deaths(client)
    for _ in range(2):
        for name in range(IDLE_DEATHS - 1):
            client.send(DIED, worker=str(name), exit_code=1, limit=1)
        deaths.look({})
        deaths.progress()
    for name in range(IDLE_DEATHS):
        client.send(DIED, worker=str(name), exit_code=1, limit=1)
    with pytest.raises(GradflowError, match="die before they begin a run: exit status 1"):
        deaths.look({})


def launcher(**values):
    return LocalLauncher(
        **{"workers": 2, "memory_limit": None, "gpus": 0, "dashboard": False} | values
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"workers": "abc"}, "workers=abc: must be a whole number >= 1"),
        ({"workers": -1}, "workers=-1: "),
        ({"workers": 0}, "workers=0: "),
        ({"workers": 1.5}, "workers=1.5: "),
        ({"gpus": "abc"}, "gpus=abc: must be a whole number >= 0"),
        ({"gpus": -1}, "gpus=-1: "),
        ({"memory_limit": "abc"}, "memory_limit=abc: must be a size such as 2GB"),
        ({"memory_limit": -1}, "memory_limit=-1: "),
        ({"memory_limit": 0}, "memory_limit=0: "),
        ({"memory_limit": "-2GB"}, "memory_limit=-2GB: "),
        ({"memory_limit": True}, "memory_limit=True: "),
        ({"memory_limit": float("nan")}, "memory_limit=nan: "),
        ({"memory_limit": float("inf")}, "memory_limit=inf: "),
        ({"memory_limit": [1]}, "memory_limit="),
    ],
)
def test_values_of_the_launcher_are_checked(values, said):
    found = launcher(**values)
    with pytest.raises(GradflowError) as raised:
        found.check()
    assert str(raised.value).startswith(f"hydra.launcher.{said}")


def test_the_machines_memory_is_shared_by_the_workers(monkeypatch):
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", 24 * 10**9)
    assert launcher(workers=2).memory == 12 * 10**9
    assert launcher(workers=3).memory == 8 * 10**9
    assert launcher(memory_limit="2GB").memory == 2 * 10**9
    assert launcher(memory_limit="100GB").memory == 24 * 10**9


def test_the_memory_of_a_run_grows_with_what_it_keeps():
    """Against closed forms: 4 bytes of every parameter, and the batch's share of activations."""
    config = small_config(Path(), depth=20)
    data = config.data

    def at(batch):
        return peak_memory(replace(config, data=replace(data, batch_size=batch, subset=None)))

    assert at(30_000) - at(20_000) == pytest.approx(at(20_000) - at(10_000), rel=1e-6)
    # Of 19 convolutions in three stages, with one input of each kept for its gradient.
    elements = 4 * 64 * 7 + 8 * 16 * 6 + 16 * 4 * 6
    assert (at(30_000) - at(20_000)) / 10_000 > 4 * elements


def test_a_run_that_will_not_fit_is_named():
    def planned(depth, seed=0, **options) -> PlannedRun:
        config: RunConfig = small_config(Path(), depth=depth, seed=seed, **options)
        return PlannedRun(config, Path(str(depth)), "missing")

    runs = alike([planned(8), planned(8, seed=1), planned(14), planned(20, device="cuda")])
    assert [run.name for run in runs] == ["residual-8 seed 0", "residual-14 seed 0"]
    assert shortage(runs, [10**9, 2 * 10**9], 2 * 10**9) == ""
    line = shortage(runs, [10**9, 3 * 10**9], 2 * 10**9)
    assert line.startswith("warning: residual-14 seed 0 needs about 3.00 GB of memory and a")
    assert "\n" not in line
    assert "(and 1 more)" in shortage(runs, [10**9, 3 * 10**9], 10**8)


def test_a_worker_that_does_not_answer_does_not_hold_up_an_interrupt(monkeypatch):
    def never(*_):
        threading.Event().wait()

    def late(*_):
        raise NotYet

    monkeypatch.setattr("distributed.wait", late)
    monkeypatch.setattr("gradflow.sweeps.dispatch.STOP_SECONDS", 0.1)
    client = Reports()
    stopping = Dispatch(client, SimpleNamespace(), never)
    client.run = never
    client.scheduler_info = lambda n_workers: {"workers": {"a": {}}}
    for number in (0, 1):  # the second waits for a worker
        future = threading.Event()
        future.done = future.is_set
        run = SimpleNamespace(name=f"plain-8 seed {number}")
        stopping._pending[future] = SimpleNamespace(run=run, number=number)
    client.send(BEGUN, worker="a", job=0)
    with pytest.raises(Killed, match="not stopped within 0 s and killed: plain-8 seed 0$"):
        stopping._stop()
    client.scheduler_info = lambda n_workers: {"workers": {}}
    monkeypatch.setattr("gradflow.sweeps.dispatch.STOP_SECONDS", 1e9)
    stopping._stop()  # no worker is left to wait for
