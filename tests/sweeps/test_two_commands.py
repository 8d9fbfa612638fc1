"""Two commands on one study that end in the same moment: both show it whole."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread

import pytest

from gradflow.analysis.report import page
from gradflow.core.locks import drawing
from gradflow.sweeps.after_study import COMMANDS, keep_command
from tests.support.processes import command

ROOT = Path(__file__).parents[2]


def test_every_command_of_a_study_is_kept(tmp_path):
    commands = [f"python train.py seed={seed}" for seed in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda line: keep_command(tmp_path, line), commands))
    assert sorted((tmp_path / COMMANDS).read_text().splitlines()) == sorted(commands)


def test_one_process_at_a_time_draws_a_study(tmp_path, monkeypatch):
    """The second waits, also when it reaches the folder by another name."""
    study, link = tmp_path / "s", tmp_path / "elsewhere" / "link"
    (study / "run").mkdir(parents=True)
    (study / "run" / "config.yaml").touch()
    link.parent.mkdir()
    link.symlink_to(study)
    begun, ended = Event(), Event()
    monkeypatch.setattr(page, "studies_in", lambda folder: begun.set() or [folder])
    monkeypatch.setattr(page, "make_report", lambda folder: page.Report([], [], []))

    def report():
        page.main([str(link)])
        ended.set()

    with drawing(study):
        second = Thread(target=report)
        second.start()
        assert begun.wait(100)
        assert not ended.wait(0.3)
    assert ended.wait(100)
    second.join()


@pytest.mark.slow
def test_two_reports_at_once_both_succeed(tmp_path):
    sweep = ["-m", "network.depth=8,14", "network.skip=false,true", "steps=4", "study.name=s"]
    sweep += ["study.analysis=[degradation]"]
    script = [sys.executable, str(ROOT / "analysis/report.py"), str(tmp_path / "s")]
    subprocess.run(command(tmp_path, *sweep, "study.analysis=[]"), check=True)
    for _ in range(2):  # the second time what is there is drawn again
        both = [
            subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for _ in range(2)
        ]
        for process in both:
            output, _ = process.communicate(timeout=600)
            assert process.returncode == 0, output
            assert "Traceback" not in output
        (tmp_path / "s" / ".made.json").unlink(missing_ok=True)
