"""The same study by every launcher, by two processes at once, and as its log shows it."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from gradflow.core.errors import GradflowError
from gradflow.core.progress import Progress, StudyBar
from gradflow.sweeps.launcher import _preparation, dashboard_address
from tests.kill_study import assert_done_once
from tests.support.processes import assert_equal_records, command, wait_for

SWEEP = ["-m", "network.depth=8,14", "seed=0,1", "steps=12", "study.name=s"]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["basic", "submitit_local", "joblib"])
def test_other_launchers_give_equal_records(tmp_path, launcher):
    """Invariant 3 across launchers."""
    if launcher != "basic":
        pytest.importorskip(f"hydra_plugins.hydra_{launcher.split('_')[0]}_launcher")
    for root, chosen in (("local", "local"), ("other", launcher)):
        overrides = [*SWEEP, f"hydra/launcher={chosen}"]
        subprocess.run(command(tmp_path / root, *overrides), capture_output=True, check=True)
    assert_equal_records(tmp_path / "local" / "s", tmp_path / "other" / "s")


@pytest.mark.slow
def test_two_processes_on_one_study_share_its_runs(tmp_path):
    """Each run is done once; that of a killed process is taken over by the other."""
    sweep = ["-m", "network.depth=20", "seed=0,1,2,3", "steps=300", "study.name=s"]
    sweep += ["hydra.launcher.workers=1", "checkpoint_seconds=0.3"]
    subprocess.run(command(tmp_path / "one", *sweep), capture_output=True, check=True)
    both = [
        subprocess.Popen(
            command(tmp_path / "two", *sweep),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        for _ in range(2)
    ]
    wait_for(lambda: len(list(tmp_path.glob("two/s/*/checkpoint.pt"))) == 2)
    subprocess.run(["pkill", "-KILL", "-g", str(both[0].pid)], check=True)
    output, _ = both[1].communicate(timeout=900)
    assert both[1].returncode == 0, output
    assert "4 runs: 4 finished" in output
    both[0].communicate()
    assert_done_once(tmp_path / "two" / "s")
    assert_equal_records(tmp_path / "one" / "s", tmp_path / "two" / "s")


def test_a_worker_sees_one_gpu(monkeypatch):
    """Three workers on two GPUs, without a GPU: what CUDA will be told."""
    seen = []
    for name in range(3):
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        with monkeypatch.context() as patch:
            patch.setattr("signal.signal", lambda *_: None)
            _preparation(2, []).setup(SimpleNamespace(name=name))
            seen.append(os.environ.pop("CUDA_VISIBLE_DEVICES"))
    assert seen == ["0", "1", "0"]


def test_the_dashboard_says_what_it_needs(monkeypatch):
    assert dashboard_address(False) is None
    monkeypatch.setitem(sys.modules, "bokeh", None)
    with pytest.raises(GradflowError, match=r"pip install 'gradflow-suite\[dashboard\]'"):
        dashboard_address(True)


def test_off_a_terminal_a_study_tells_a_line_now_and_then(capsys, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(time, "monotonic", lambda: clock.now)
    with StudyBar(4) as bar:
        bar.look(workers=2)
        assert capsys.readouterr().err == ""
        bar.end_run(failed=False)
        bar.end_run(failed=True)
        bar.show(Progress("plain-8 seed 0", 50, 100, 1.0))
        clock.now = 120.0
        bar.look(workers=2)
    # 2.5 of 4 runs in 2 minutes: 1.25 a minute; the rest takes 1.2 minutes.
    told = capsys.readouterr().err
    assert told == "2/4 runs, 2 running, 1 failed, 1.2 a minute, 1 minutes left\n"
