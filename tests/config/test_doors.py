"""What is refused at the two doors, the command line and Python: one line, nothing written."""

import errno
import importlib
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

import gradflow
from gradflow.analysis.report.page import PAGE, make_index
from gradflow.config.conf_folder import JOURNAL
from gradflow.config.run import (
    DescribeConfig,
    RunConfig,
    SearchConfig,
    StudyConfig,
)
from gradflow.core.door import one_line
from gradflow.core.errors import GradflowError
from gradflow.core.locks import held, is_running, lock_of
from gradflow.records import read_runs
from gradflow.runs.execute import execute
from gradflow.sweeps.search import LOCK
from tests.support.configs import small_config
from tests.support.doors import ROOT, Ended, command, files_below

RATE = "optimizer.learning_rate=tag(log,interval(0.001,1))"
SWEEP = ("-m", "seed=0,1")


def refused(ended: Ended, told: str = "") -> None:
    assert ended.traceback is None, ended.traceback
    assert ended.refused is not None
    assert ended.accepted == []
    assert told in ended.refused
    if ended.refused != "2":  # argparse's
        assert ended.refused.startswith("error: ")
        assert ended.refused.isprintable()


SEEN = [
    (["~optimizer"], "optimizer=???: choose one of adamw, muon, normalized, sgd"),
    (["=1"], "Hydra cannot make a config of it"),
    (["diagnostic=1"], "diagnostic=1 "),
    (["network=null"], "network=null "),
    (["network.skip=2"], "network.skip: Value '2' is not a valid bool"),
    (["seed=9223372036854775808"], "seed=9223372036854775808: must be <= 9223372036854775807"),
    (["steps=2147483648"], "steps=2147483648: must be <= 2147483647"),
    (["threads=1000"], "threads=1000: must be <= 256"),
    (["network.width=100001"], "network.width=100001: must be <= 100000"),
    (["network.branch_scale=nan"], "network.branch_scale=nan: must be a number"),
    (["optimizer.learning_rate=inf"], "optimizer.learning_rate=inf: must be finite"),
    (["study.name='a\nb'"], "study.name"),
    (["study.name=javascript:alert"], "study.name=javascript:alert: must be a plain folder name"),
    ([f"study.name={'a' * 240}"], "must be a plain folder name"),
    (["study.name='a\u202eb'"], "study.name=a\\u202eb: must"),
    (["study.name='\x1b[31mred'"], "study.name=\\x1b[31mred: must"),
    (["schedule=multi_step", "schedule.milestones=[]"], "schedule.milestones=(): must be rising"),
    (["search.trial=1"], "search.trial=1: needs search.study too"),
    (["study.analysis=[nothing]"], "study.analysis=nothing: choose among "),
    (["diagnostic=lesion", "diagnostic.images=361"], "diagnostic.images=361: the test split has"),
    (["steps=${steps}"], "steps: Recursive interpolation detected"),
    ([*SWEEP, "hydra.launcher=null"], "hydra.launcher=null"),
    ([*SWEEP, "hydra.launcher.workers=-1"], "hydra.launcher.workers=-1: must be a whole number"),
    ([*SWEEP, "hydra.launcher.dashboard=5"], "hydra.launcher.dashboard=5: must be true or false"),
    ([*SWEEP, "hydra.sweeper.variants=[1]"], "hydra.sweeper.variants=1: must have keys"),
    ([*SWEEP, "hydra.sweeper.max_batch_size=0"], "hydra.sweeper.max_batch_size=0: must be"),
    ([*SWEEP, "hydra/launcher=slurm", "hydra.launcher.cores=a"], "hydra.launcher.cores=a: must"),
    ([*SWEEP, "hydra/launcher=slurm", "hydra.launcher.prologue=a"], "must be a list of lines"),
    ([*SWEEP, "steps=range(5,5)"], "steps=range(5,5): no value, so no run"),
    ([*SWEEP, "network.depth=8,9"], "network.depth=9: depth must be 6n+2"),
]


DRY = [([*words, "dry_run=true"], told) for words, told in SEEN if "-m" in words or "study" in told]
"""dry_run=true accepts nothing that a run refuses."""


@pytest.mark.parametrize(("words", "told"), SEEN + DRY)
def test_a_wrong_command_is_one_line_and_writes_nothing(tmp_path, words, told):
    refused(command("train", *words, f"output_root={tmp_path}"), told)
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("root", ["", "''", "'a\tb'", "a\u202eb", "'a\x1b[1m'"])
def test_an_output_folder_without_a_plain_name_is_not_made(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for sweep in ([], ["-m"]):
        refused(command("train", *sweep, f"output_root={root}"), "must name a folder")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", ["describe", "diagnose", "acceptance", "download"])
def test_a_command_that_does_one_thing_takes_no_sweep(script, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(command(script, "-m", "run=x"), f"-m: gradflow {script} does one thing at a time")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_a_sweep_names_twice_is_done_once(tmp_path):
    ended = command("train", "-m", "seed=0,00,1", f"output_root={tmp_path}")
    assert [config.seed for config in ended.accepted] == [0, 1]


def test_an_interpolated_value_is_each_jobs_own(tmp_path):
    words = ["-m", "steps=2,4", "evaluation.every=${steps}", f"output_root={tmp_path}"]
    ended = command("train", *words)
    assert [(c.steps, c.evaluation.every) for c in ended.accepted] == [(2, 2), (4, 4)]
    assert len(list(tmp_path.glob("scratch/*/config.yaml"))) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["optimizer.larning_rate=interval(0.1,1)"], "no such key; did you mean learning_rate?"),
        (["network.depth=int(interval(9,20))"], "network.depth=9: depth must be 6n+2"),
        (["optimizer.momentum=choice(0.5,1.5)"], "optimizer.momentum=1.5: must be < 1"),
        ([RATE, "data=cifar10", "data.folder=/nowhere"], "data.folder=/nowhere: no such folder"),
        ([RATE, "hydra.launcher.workers=abc"], "hydra.launcher.workers=abc: must be"),
        ([RATE, "study.analysis=[nothing]"], "study.analysis=nothing: choose among"),
    ],
)
def test_a_wrong_search_has_no_journal(tmp_path, words, told):
    for dry in ("true", "false"):
        refused(command("tune", *words, f"output_root={tmp_path}", f"dry_run={dry}"), told)
    assert files_below(tmp_path) == []


def test_a_second_search_is_refused_and_optunas_own_lock_is_left_to_it(tmp_path):
    study = tmp_path / "search"
    study.mkdir()
    words = [RATE, "search.trials=1", f"output_root={tmp_path}"]
    with FileLock(study / LOCK):
        refused(command("tune", *words), "another process searches here")
    assert not (study / JOURNAL).exists()
    # The stub does no run, so its trial fails; the search itself has found its way.
    assert "1 trials failed" in (command("tune", *words).refused or "")
    assert (study / JOURNAL).exists()
    assert not (study / f"{JOURNAL}.lock").exists()


def test_an_invalid_proposal_fails_alone(tmp_path):
    """Depths between 8 and 20 that are not 6n+2 are proposed; those that are get their runs."""
    words = ["network.depth=int(interval(8,20))", "search.trials=24", f"output_root={tmp_path}"]
    ended = command("tune", *words)
    assert ended.traceback is None
    depths = [config.network.depth for config in ended.accepted]
    assert depths
    assert set(depths) <= {8, 14, 20}
    assert f"{len(depths)} trials failed" in (ended.refused or "")  # the stub does no run
    again = command("tune", *words)
    assert again.traceback is None
    assert again.accepted == []


def test_a_trial_that_is_in_no_search_is_refused(tmp_path):
    config = small_config(tmp_path, search=SearchConfig(study="s", trial=3))
    with pytest.raises(GradflowError, match=r"search.trial=3: search.study=s has no such trial"):
        execute(config)


def test_a_journal_that_a_killed_search_left_locked_can_be_found(tmp_path, monkeypatch):
    """Optuna's lock links to the journal: from a relative path the link would point nowhere."""
    from gradflow.training.pruning import open_search

    monkeypatch.chdir(tmp_path)
    study = open_search(small_config(Path("out")), "s")
    backend = study._storage._backend  # type: ignore[attr-defined]  # a journal's
    assert Path(backend._file_path).is_absolute()


# --- Python ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: gradflow.build_network("mlp", skip="False"), "network.skip=False: must be true"),
        (lambda: gradflow.build_network("mlp", depth=8.0), "network.depth=8.0: must be a whole"),
        (lambda: gradflow.build_network("mlp", depth=True), "network.depth=True: must be a whole"),
        (lambda: gradflow.build_network(["mlp"]), "family="),
        (lambda: gradflow.build_network("mlp", seed=2**63), "seed=9223372036854775808: must be"),
        (lambda: gradflow.build_network("mlp", seed="1"), "seed=1: must be a whole number"),
        (lambda: gradflow.build_network("mlp", outputs=0), "outputs=0: must be >= 1"),
        (lambda: gradflow.build_network("mlp", image_shape=(8, 8)), "image_shape=(8, 8): must be"),
        (lambda: gradflow.build_network("mlp", image_shape=8), "image_shape=8: must be"),
        (lambda: gradflow.build_network("mlp", widths="888"), "network.widths=888: must be a list"),
        (lambda: gradflow.describe(torch.nn.Linear(2, 2), (3,)), "input_shape=(3,): the network"),
        (lambda: gradflow.describe(torch.nn.Linear(2, 2), "2"), "input_shape=2: must be"),
        (lambda: gradflow.describe(5, (3,)), "network=int: must be a module"),
        (lambda: gradflow.describe(torch.nn.ReLU(), (3,)), "network=ReLU: must be a module"),
        (lambda: RunConfig(network=5), "network=5: must be a NetworkConfig"),
        (lambda: StudyConfig(name="a\0b"), "study.name=a\\x00b: must have printable"),
        (lambda: DescribeConfig(network=5, image_shape=(1, 2, 3)), "network=5: must be"),
    ],
)
def test_a_wrong_call_is_one_line(call, told):
    with pytest.raises(GradflowError) as raised:
        call()
    assert str(raised.value).startswith(told)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("steps",), {"where": {"step": 0.5}}),
        (("steps",), {"where": {"step": True}}),
        (("steps",), {"where": {"step": "0"}}),
        (("steps",), {"where": {"step": 2**40}}),
        (("steps",), {"where": {"run_id": 5}}),
        (("steps",), {"where": {"step": [0, 0.5]}}),
        (("steps",), {"where": ["step"]}),
        (("steps",), {"columns": "step"}),
        (("steps",), {"columns": [5]}),
        ((["steps"],), {}),
        (("steps",), {"where": {"step": range(3)}}),
    ],
)
def test_a_query_that_matches_nothing_exactly_is_refused(study_folder, arguments, options):
    with pytest.raises(GradflowError):
        gradflow.read_records(study_folder, *arguments, **options)


@pytest.mark.parametrize("folder", ["a\0b", "a" * 5000, b"x", "\ud800", None, 5, "/dev/null", ""])
@pytest.mark.parametrize("read", [lambda f: gradflow.read_records(f, "steps"), read_runs])
def test_a_folder_that_no_folder_can_be_is_one_line(read, folder):
    with pytest.raises(GradflowError) as raised:
        read(folder)
    assert str(raised.value).isprintable()


def test_a_query_of_a_run_that_no_folder_can_be_is_empty(study_folder):
    where = {"run_id": ["a" * 300, "/etc", ".."]}
    assert gradflow.read_records(study_folder, "steps", where=where).empty


def test_a_query_takes_numpys_numbers(study_folder):
    asked = {"step": np.int64(0), "learning_rate": [np.float64(0.5), 1]}
    assert gradflow.read_records(study_folder, "steps", where=asked).empty
    found = gradflow.read_records(study_folder, "steps", where={"step": np.int32(0)})
    assert len(found) == 8


def test_values_are_kept_as_their_fields_type(tmp_path):
    """Else a run would have another id for learning_rate=1 than for 1.0."""
    from gradflow.config.run_id import run_id

    config = small_config(tmp_path)
    one, same = (
        replace(config, optimizer=replace(config.optimizer, learning_rate=rate))
        for rate in (1, 1.0)
    )
    assert run_id(one, "x") == run_id(same, "x")
    assert type(replace(config, seed=np.int64(3)).seed) is int


# --- folders --------------------------------------------------------------------------------


@pytest.mark.parametrize("script", ["status", "report"])
def test_a_script_may_be_called_inside_the_study(
    study_folder, script, monkeypatch, tmp_path, capsys
):
    study = tmp_path / "named"
    shutil.copytree(study_folder, study)
    monkeypatch.chdir(study)
    monkeypatch.setattr(sys, "argv", [script, "."])
    runpy.run_path(str(ROOT / "analysis" / f"{script}.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert f"{study}: 8 runs" in printed or str(study / "report.html") in printed
    if script == "report":
        assert "<title>named" in (study / "report.html").read_text()


def test_a_study_whose_name_looks_like_an_address_is_no_live_link(study_folder, tmp_path):
    """Such a folder may come from elsewhere; the door makes none."""
    name = "javascript:alert(1)"
    shutil.copytree(study_folder, tmp_path / name)
    (tmp_path / name / PAGE).write_text("a page")
    index = make_index(tmp_path).read_text()
    assert 'href="./javascript%3Aalert%281%29/report.html"' in index
    assert 'href="javascript' not in index


def test_diagnose_may_be_called_inside_the_run(study_folder, monkeypatch, tmp_path):
    study = tmp_path / "study"
    run = next(path.parent for path in study_folder.glob("*/config.yaml"))
    shutil.copytree(run, study / run.name)
    monkeypatch.chdir(study / run.name)
    words = ["run=.", "diagnostic=identity", "diagnostic.images=4", "diagnostic.at=initialization"]
    ended = command("diagnose", *words)
    assert (ended.refused, ended.traceback) == (None, None)
    monkeypatch.chdir(study)
    words[0] = f"run={run.name}"
    ended = command("diagnose", *words)
    assert (ended.refused, ended.traceback) == (None, None)


@pytest.mark.parametrize(
    "error",
    [errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ENOSPC],
)
def test_a_path_that_cannot_be_used_is_one_line(error, capsys):
    with pytest.raises(SystemExit) as ended, one_line():
        raise OSError(error, os.strerror(error), "/a/path")
    assert ended.value.code == f"error: /a/path: {os.strerror(error)}"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_an_output_folder_that_no_system_makes_is_one_line():
    refused(
        command("train", "output_root=/proc/x"), "output_root=/proc/x: No such file or directory"
    )


def test_another_oserror_is_a_bug_and_keeps_its_traceback():
    with pytest.raises(OSError, match="a bug"), one_line():
        raise OSError(errno.EBADF, "a bug")


@pytest.mark.parametrize("below", ["", "/deeper"])
def test_an_output_folder_that_is_a_file_is_one_line(tmp_path, below):
    (tmp_path / "file").write_text("kept")
    ended = command("train", f"output_root={tmp_path}/file{below}")
    refused(ended, str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "kept"


@pytest.fixture
def nobody():
    """Become a user whom nothing here belongs to; back at the end, whatever happens.

    That user may not be able to read the interpreter's own modules: those that are imported late
    must be there before.
    """
    if os.geteuid():
        pytest.skip("only root can become another user")
    importlib.import_module("concurrent.futures.process")
    importlib.import_module("multiprocessing.popen_fork")
    yield lambda: os.seteuid(65534)
    os.seteuid(0)


def test_folders_of_another_user_are_one_line(tmp_path, nobody):
    root = tmp_path / "closed"
    root.mkdir(mode=0o700)
    nobody()
    ended = command("train", f"output_root={root}")
    os.seteuid(0)
    refused(ended, "Permission denied")


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("analysis/status.py", []),
        ("analysis/report.py", []),
        ("analysis/degradation.py", ["--format", "png"]),
        ("analysis/export.py", []),
        ("experiments/diagnose.py", ["diagnostic=identity", "diagnostic.images=8"]),
    ],
)
def test_a_study_that_may_only_be_read(study_folder, nobody, monkeypatch, capsys, script, words):
    """Its status is printed; what would write there names the path."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        study = Path(name) / "study"
        shutil.copytree(study_folder, study)
        for path in [study, *study.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        folder = f"run={study}" if "diagnose" in script else str(study)
        monkeypatch.setattr(sys, "argv", [script, folder, *words])
        status: object = 0
        nobody()
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        except SystemExit as ended:
            status = ended.code
        os.seteuid(0)
        if script == "analysis/status.py":
            assert status == 0
            assert "8 finished" in capsys.readouterr().out
        else:
            assert str(status).startswith("error: ")
            assert str(status).endswith(": Permission denied")
            assert str(name) in str(status)


def test_another_user_sees_that_a_run_is_running(tmp_path_factory, nobody):
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        run = Path(name) / "study" / "run"
        run.mkdir(parents=True)
        with held(lock_of(run)):
            nobody()
            assert is_running(run)
            os.seteuid(0)
        nobody()
        assert not is_running(run)
        os.seteuid(0)


def test_a_closed_pipe_ends_quietly(study_folder):
    words = [sys.executable, str(ROOT / "analysis/status.py"), str(study_folder), "--all"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 1
