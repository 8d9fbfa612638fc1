"""A run or a study that is stopped or killed, and started again, ends as if nothing had been."""

import os
import shutil
import signal
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from gradflow.config.probes import EveryConfig
from gradflow.core.errors import GradflowError
from gradflow.core.interrupts import LINE, Interrupted
from gradflow.records import cut_back, read_records
from gradflow.runs.execute import execute
from gradflow.training.checkpoint import CHECKPOINT
from gradflow.training.optimizers.adamw import AdamWConfig
from gradflow.training.optimizers.muon import MuonConfig
from gradflow.training.optimizers.normalized import NormalizedConfig
from tests.support.configs import small_config
from tests.support.processes import assert_equal_records, command, interrupt_at, wait_for

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "optimizer",
    [None, AdamWConfig(), MuonConfig(), NormalizedConfig()],
    ids=["sgd", "adamw", "muon", "normalized"],
)
@pytest.mark.parametrize("stops", [(1,), (4, 3), (9,)])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(tmp_path, monkeypatch, stops, optimizer):
    def config(root):
        return small_config(
            root, steps=10, optimizer=optimizer, details=EveryConfig(every=4), checkpoint_seconds=0
        )

    whole = execute(config(tmp_path / "whole")).folder
    for stop in stops:
        with monkeypatch.context() as patch:
            interrupt_at(patch, stop)
            with pytest.raises(Interrupted, match="of 10"):
                execute(config(tmp_path / "parts"))
    result = execute(config(tmp_path / "parts"))
    assert not result.skipped
    assert_equal_records(whole, result.folder)
    assert not (result.folder / CHECKPOINT).exists()
    attempts = read_records(result.folder, "attempts").sort_values("started")
    assert attempts.error.notna().tolist() == [True] * len(stops) + [False]
    assert len(list((result.folder / "layers").iterdir())) == 1  # compacted


def test_a_run_that_died_before_its_first_checkpoint_or_while_it_was_compacted(tmp_path):
    config = small_config(tmp_path / "parts", steps=6)
    whole = execute(small_config(tmp_path / "whole", steps=6)).folder
    folder = execute(config).folder
    (folder / "runs" / "part-00000.parquet").unlink()  # all there, but never said to be ended
    (folder / "runs").rmdir()
    result = execute(config)
    assert not result.skipped
    assert_equal_records(whole, result.folder)


def test_records_are_cut_back_to_the_step(tmp_path):
    folder = execute(small_config(tmp_path, steps=8)).folder
    shutil.rmtree(folder / "runs")  # an ended run has no step to go back to
    cut_back(folder, 4)
    assert read_records(folder, "steps").step.max() == 3
    assert read_records(folder, "layers").step.max() == 3
    assert read_records(folder, "evaluations").step.tolist() == [4, 4]
    assert len(read_records(folder, "attempts")) == 1
    cut_back(folder, 0)
    with pytest.raises(GradflowError, match="holds no steps records"):
        read_records(folder, "steps")


# At its first checkpoint the command waits for the signal, however fast the machine is.
PAUSING = """
import runpy, sys, time
from gradflow.core import interrupts
from gradflow.training.checkpoint import Checkpoints
save = Checkpoints.save
def save_and_wait(*arguments):
    save(*arguments)
    while not interrupts.asked_to_stop():
        time.sleep(0.01)
Checkpoints.save = save_and_wait
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


CASES = [
    pytest.param(signal.SIGINT, False, id="Ctrl-C, run"),
    pytest.param(signal.SIGTERM, False, id="SIGTERM, run", marks=pytest.mark.slow),
    pytest.param(signal.SIGTERM, True, id="SIGTERM, study", marks=pytest.mark.slow),
    pytest.param(signal.SIGINT, True, id="Ctrl-C, study", marks=pytest.mark.slow),
    pytest.param(signal.SIGHUP, True, id="SIGHUP, study", marks=pytest.mark.slow),
]


def hear_of_hangups():
    """Under nohup they are ignored, also by the tests and by what these start."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.mark.parametrize(("number", "sweep"), CASES)
def test_a_signal_ends_with_a_checkpoint_and_the_same_command_goes_on(tmp_path, number, sweep):
    overrides = ["network.depth=20", "checkpoint_seconds=0.02", "study.name=s"]
    if sweep:  # in workers of their own nobody waits: long enough to be met before its end
        overrides = ["-m", "seed=0,1", "hydra.launcher.workers=2", "steps=400", *overrides]
    else:
        overrides = [*overrides, "steps=20"]
    whole = subprocess.run(command(tmp_path / "whole", *overrides), capture_output=True, check=True)
    assert whole.returncode == 0
    python, *script = command(tmp_path / "parts", *overrides)
    process = subprocess.Popen(
        [python, *script] if sweep else [python, "-c", PAUSING, *script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=hear_of_hangups,
    )
    wait_for(lambda: list(tmp_path.glob(f"parts/s/*/{CHECKPOINT}")))
    os.killpg(process.pid, number) if number != signal.SIGTERM else process.send_signal(number)
    _, errors = process.communicate(timeout=600)
    assert process.returncode != 0
    assert errors.splitlines() == [LINE]
    assert not list(tmp_path.glob("parts/s/*/runs"))
    assert list(tmp_path.glob(f"parts/s/*/{CHECKPOINT}"))
    group = ["pgrep", "-g", str(process.pid)]  # no process of it is left
    wait_for(lambda: not subprocess.run(group, capture_output=True).stdout)
    subprocess.run(command(tmp_path / "parts", *overrides), capture_output=True, check=True)
    assert_equal_records(tmp_path / "whole" / "s", tmp_path / "parts" / "s")
    attempts = read_records(tmp_path / "parts" / "s", "attempts")
    assert attempts.error.str.startswith("Interrupted").sum() >= 1


# The program is sent Ctrl-C at the moment when it first imports a module.
AT_IMPORT = """
import os, runpy, signal, sys

class Interrupt:
    def find_spec(self, name, *_):
        if name == target and not self.sent:
            self.sent = True
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored below nohup, and kept so
interrupt = Interrupt()
interrupt.sent = False
sys.meta_path.insert(0, interrupt)
target, *sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize(
    ("module", "script", "study"),
    [
        ("hydra", "train", []),
        ("hydra", "diagnose", []),
        ("torch", "train", []),
        ("distributed", "train", ["-m", "seed=0,1"]),
        ("cryptography", "train", ["-m", "seed=0,1"]),
    ],
)
def test_ctrl_c_while_modules_are_imported_is_one_line(tmp_path, module, script, study):
    python, path, *overrides = command(tmp_path, *study, "steps=4", "study.name=s")
    path = str(Path(path).with_name(f"{script}.py"))
    done = subprocess.run(
        [python, "-c", AT_IMPORT, module, path, *overrides], capture_output=True, text=True
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line in ("interrupted", LINE)
    assert not list(tmp_path.glob("s/*/runs"))


STUBBORN = """
import os, signal, subprocess, sys, time
import psutil
from gradflow.core import interrupts

interrupts.LIMIT_SECONDS = 0.5
with interrupts.limited(), interrupts.undone_at_the_limit(lambda: print("undone", flush=True)):
    child = subprocess.Popen(["sleep", "1000"], stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    signals = [signal.SIGINT]
    while True:
        try:
            if signals:
                os.kill(os.getpid(), signals.pop())
            time.sleep(1000)
        except KeyboardInterrupt:
            pass
"""


def test_what_ignores_an_interrupt_is_ended_with_all_that_it_started():
    done = subprocess.run(
        [sys.executable, "-c", STUBBORN], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 1
    child, undone = done.stdout.split()
    assert undone == "undone"
    wait_for(lambda: not psutil.pid_exists(int(child)))
    [line] = done.stderr.splitlines()
    assert line.startswith(f"{LINE}; what did not stop")


@pytest.mark.slow
def test_a_closed_terminal_leaves_a_checkpoint(tmp_path):
    """A real one: it is closed while the bar is drawn on it."""
    overrides = ["network.depth=20", "checkpoint_seconds=1000", "study.name=s", "steps=100000"]
    terminal, other = os.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    os.set_blocking(terminal, False)
    process = subprocess.Popen(
        ["setsid", "--ctty", *command(tmp_path, *overrides)],
        stdin=other,
        stdout=other,
        stderr=other,
        preexec_fn=hear_of_hangups,
    )
    os.close(other)

    def is_drawn():
        with suppress(BlockingIOError):
            return b"step/s" in os.read(terminal, 10_000)

    wait_for(is_drawn, seconds=60)
    os.close(terminal)
    process.wait(timeout=600)
    [folder] = (tmp_path / "s").iterdir()
    assert (folder / CHECKPOINT).exists()
    attempts = read_records(folder, "attempts")
    assert attempts.error.str.startswith("Interrupted").tolist() == [True]


@pytest.mark.slow
def test_a_worker_that_does_not_answer_is_killed_and_its_run_resumes(tmp_path):
    overrides = ["-m", "seed=0,1", "hydra.launcher.workers=2", "network.depth=20"]
    overrides += ["checkpoint_seconds=0.02", "study.name=s", "steps=400"]
    subprocess.run(command(tmp_path / "whole", *overrides), capture_output=True, check=True)
    process = subprocess.Popen(
        command(tmp_path / "parts", *overrides),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: len(list(tmp_path.glob(f"parts/s/*/{CHECKPOINT}"))) == 2)
    children = psutil.Process(process.pid).children(recursive=True)
    workers = [child for child in children if child.ppid() != process.pid]  # forked by one
    assert len(workers) == 2
    workers[0].suspend()
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    [line] = errors.splitlines()
    assert line.startswith(LINE)
    assert "killed: residual-20 seed" in line
    group = ["pgrep", "-g", str(process.pid)]
    wait_for(lambda: not subprocess.run(group, capture_output=True).stdout)
    subprocess.run(command(tmp_path / "parts", *overrides), capture_output=True, check=True)
    assert_equal_records(tmp_path / "whole" / "s", tmp_path / "parts" / "s")


@pytest.mark.slow
def test_a_study_whose_processes_are_killed(tmp_path):
    """Workers and the whole group, at random moments; `tests/kill_study.py` does it 100 times."""
    from tests.kill_study import assert_done_once, disturb

    kills = disturb(tmp_path, kills=2, seed=0, steps=80, depths="8", seeds="0,1,2")
    assert kills > 0
    assert_equal_records(tmp_path / "whole" / "s", tmp_path / "parts" / "s")
    assert_done_once(tmp_path / "parts" / "s")
