"""gradflow new: each kind of file passes its own test untouched, and runs."""

import re
import shlex
import subprocess
import sys

import pytest

from gradflow.cli import main
from gradflow.cli.new import FILES, write_new
from gradflow.core.errors import GradflowError
from gradflow.runs.execute import execute
from tests.support.doors import command
from tests.support.plugins import forgotten


@pytest.fixture(autouse=True)
def _forgotten():
    with forgotten():
        yield


def test_each_kind_passes_its_own_test_and_the_linter(tmp_path):
    for kind in FILES:
        write_new(kind, f"my_{kind}", tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert found.returncode == 0, found.stdout
    assert "8 passed" in found.stdout
    lint = ["-m", "ruff", "check", "--isolated", "--select=E,F,I,B", "--line-length=100"]
    found = subprocess.run([sys.executable, *lint, str(tmp_path)], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout
    assert all(len(path.read_text().splitlines()) <= 45 for path in tmp_path.glob("my_*.py"))


@pytest.mark.parametrize("kind", FILES)
def test_the_command_that_a_file_names_works(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    path, _ = write_new(kind, f"my_{kind}", tmp_path)
    lines = path.read_text().replace("\\\\\n", " ").splitlines()
    named = [
        line.split("gradflow ") for line in lines if re.search("gradflow (train|sweep) ", line)
    ]
    [(_, text)] = named
    door, *words = shlex.split(text)
    sweeps = ["-m"] if door == "sweep" else []
    ended = command("train", *sweeps, *words, f"output_root={tmp_path / 'outputs'}")
    assert (ended.refused, ended.traceback) == (None, None)
    assert {config.network.skip for config in ended.accepted} == {True, False}


@pytest.mark.parametrize("kind", FILES)
def test_the_next_steps_work_where_they_are_printed(tmp_path, capsys, kind):
    """Also of a folder with a space; and no word is a pattern of zsh, which finds no such file."""
    folder = tmp_path / "my files"
    main(["new", kind, f"my_{kind}", "--folder", str(folder)])
    printed = capsys.readouterr().out
    test, train = re.findall(r"^  (\S.*(?:\n      .*)?)", printed, re.M)
    assert shlex.split(test) == ["python", "-m", "pytest", str(folder / f"test_my_{kind}.py")]
    assert not re.search(r"[\[\]*?]", re.sub(r"'[^']*'", "", train))
    _, door, *words = shlex.split(train.replace("\\\n", " "))
    sweeps = ["-m"] if door == "sweep" else []
    ended = command("train", *sweeps, *words, f"output_root={tmp_path / 'outputs'}")
    assert (ended.refused, ended.traceback) == (None, None)
    assert {config.network.skip for config in ended.accepted} == {True, False}


def test_a_study_of_ones_own_may_name_plugins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_new("data", "my_data", tmp_path)
    path, _ = write_new("study", "my_study", tmp_path)
    text = path.read_text().replace("optimizer: sgd", "data: my_data")
    path.write_text(f"{text}\nplugins: [my_data.py]\ndata: {{side: 6}}\n")
    words = ["--config-dir", ".", "study=my_study", f"output_root={tmp_path / 'outputs'}"]
    ended = command("train", *words)
    assert (ended.refused, ended.traceback) == (None, None)
    assert {config.data.name for config in ended.accepted} == {"my_data"}


def test_the_command_line_names_what_it_wrote(tmp_path, capsys):
    main(["new", "block", "mine", "--folder", str(tmp_path)])
    assert capsys.readouterr().out.split()[:2] == [
        str(tmp_path / "mine.py"),
        str(tmp_path / "test_mine.py"),
    ]
    with pytest.raises(SystemExit, match="error: .*mine.py: is there already"):
        main(["new", "network", "mine", "--folder", str(tmp_path)])


@pytest.mark.parametrize(
    ("kind", "name", "told"),
    [
        ("block", "my block", "must be a lower-case name of Python, such as my_block"),
        ("network", "Net", "must be a lower-case name"),
        ("data", "class", "must be a lower-case name"),
        ("block", "mlp", "mlp: is the name of a network of gradflow; take another"),
        ("data", "digits", "digits: is the name of a data of gradflow"),
        ("study", "lesion", "lesion: is the name of a study of gradflow"),
    ],
)
def test_a_name_that_does_not_do_is_one_line_and_nothing_is_written(tmp_path, kind, name, told):
    with pytest.raises(GradflowError, match=told):
        write_new(kind, name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_block_trains_in_both_twins(tmp_path, monkeypatch):
    """At a depth where residual sums of branches without a norm grow beyond what SGD survives."""
    monkeypatch.chdir(tmp_path)
    write_new("block", "mine", tmp_path)
    for skip in ("false", "true"):
        words = ["plugins=[mine.py]", "network=mine", "network.depth=20", f"network.skip={skip}"]
        [config] = command("train", *words, "steps=60", "data.subset=256").accepted
        assert execute(config).status == "finished"
