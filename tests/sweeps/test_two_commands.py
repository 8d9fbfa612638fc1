"""Two commands on one study that end in the same moment: both show it whole."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread

import pytest

from gradflow.analysis.make import MADE
from gradflow.analysis.report import page
from gradflow.core.locks import drawing
from gradflow.sweeps.after_study import COMMANDS, keep_command
from tests.support.configs import name_analysis
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
    monkeypatch.setattr(page, "make_report", lambda folder: page.Report("", [], [], [], []))

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
    """However they meet: each draws, or finds all drawn, and what is there in the end is whole."""
    study = tmp_path / "s"
    sweep = ["-m", "network.depth=8,14", "network.skip=false,true", "steps=4", "study.name=s"]
    subprocess.run(command(tmp_path, *sweep), check=True)
    name_analysis(study, "degradation")
    script = [sys.executable, str(ROOT / "analysis/report.py"), str(study)]
    for turn in range(2):  # the second time what is there is drawn again
        (study / MADE).unlink(missing_ok=True)
        texts = [(tmp_path / f"{turn}-{number}.txt").open("w+") for number in range(2)]
        with drawing(study):  # so that both wait, or have not come yet, when one may begin
            both = [
                subprocess.Popen(script, stdout=text, stderr=subprocess.STDOUT) for text in texts
            ]
        # No limit of time: how long two reports take says how busy the machine is.
        ended = [process.wait() for process in both]
        for text in texts:
            text.seek(0)
        told = [text.read() for text in texts]
        assert ended == [0, 0], told
        assert not any("Traceback" in text for text in told)
        assert sorted(text.count("drawing figures of s") for text in told) == [0, 1]
        assert "</html>" in (study / "report.html").read_text()
        assert not list(study.rglob("*.tmp"))
        for text in texts:
            text.close()
