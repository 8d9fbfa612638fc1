"""A failed diagnosis is of its run alone: one line, the reason in the records, the others made."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gradflow.analysis import status
from gradflow.analysis.study import load_study
from gradflow.cli import diagnose as diagnose_command
from gradflow.config.run import DiagnoseConfig
from gradflow.core.errors import GradflowError
from gradflow.diagnostics.lesion import LesionConfig
from gradflow.records import pending, read_records
from gradflow.runs import diagnosis
from gradflow.runs.execute import diagnose_ended, execute
from gradflow.training.optimizers.sgd import SGDConfig
from tests.diagnostics.test_diagnose import command
from tests.support.configs import small_config


@pytest.fixture
def ended(tmp_path):
    """A run of four steps that was not diagnosed, and its config."""
    config = small_config(tmp_path, steps=4, study="few")
    return execute(config).folder, config


def failing(monkeypatch, *, of_seed=None, error="no\nkernel"):
    """Lesions of runs with this seed, or of all, fail."""
    measure = diagnosis.function_of(LesionConfig())

    def fails(frozen, config):
        if of_seed is None or frozen.seed == of_seed:
            raise RuntimeError(error)
        return measure(frozen, config)

    monkeypatch.setattr(diagnosis, "function_of", lambda _: fails)


def test_a_diagnosis_that_fails_is_one_line_and_its_reason_is_in_the_records(ended, monkeypatch):
    folder, config = ended
    lesion = LesionConfig(images=8, samples=1)
    wanted = replace(config, diagnostic=lesion)
    with monkeypatch.context() as patched:
        failing(patched)
        for _ in range(2):  # tried again, and recorded once
            with pytest.raises(GradflowError) as raised:
                execute(wanted)
    assert str(raised.value) == (
        f"{folder}: lesion of the network trained: RuntimeError: no kernel; its traceback is in "
        "failed_diagnoses"
    )
    [row] = read_records(folder, "failed_diagnoses").to_dict("records")
    assert (row["name"], row["step"], row["error"]) == ("lesion", 4, "RuntimeError: no\nkernel")
    assert "in fails" in row["traceback"]
    assert pending(folder, lesion) == [True]
    assert not (folder / "lesions").exists()
    execute(wanted)
    assert not pending(folder, lesion)
    assert not list(folder.glob("failed_diagnoses/*"))


def test_of_two_diagnoses_of_a_run_one_may_fail(ended, monkeypatch):
    folder, config = ended
    frozen = diagnosis.freeze

    def freeze(*arguments, trained, **options):
        if not trained:
            raise GradflowError("no such luck")
        return frozen(*arguments, trained=trained, **options)

    monkeypatch.setattr(diagnosis, "freeze", freeze)
    both = LesionConfig(at="both", images=8, samples=1)
    with pytest.raises(GradflowError, match="lesion of the network as drawn: no such luck"):
        diagnose_ended(replace(config, diagnostic=both), folder)
    assert set(read_records(folder, "lesions").step) == {4}
    assert read_records(folder, "failed_diagnoses").step.tolist() == [0]
    assert pending(folder, both) == [False]


def test_of_a_study_the_other_runs_are_diagnosed(tmp_path, monkeypatch, capsys):
    """A run that fails, one without weights, one that diverged, one as it should be."""
    folders = [
        execute(small_config(tmp_path, steps=2, seed=seed, study="some")).folder
        for seed in (0, 1, 2)
    ]
    wild = small_config(tmp_path, optimizer=SGDConfig(learning_rate=1e18), seed=3, study="some")
    folders.append(execute(wild).folder)
    (folders[1] / "final.pt").unlink()
    failing(monkeypatch, of_seed=0)
    lesion = LesionConfig(images=8, samples=1)
    study = tmp_path / "some"
    with pytest.raises(GradflowError) as raised:
        diagnose_command.diagnose(DiagnoseConfig(run=str(study), diagnostic=lesion))
    lines = str(raised.value).split("\nerror: ")
    assert len(lines) == 2
    assert {folders[0].name, folders[1].name} == {Path(line.split(": ")[0]).name for line in lines}
    assert all(len(line.splitlines()) == 1 for line in lines)
    told = capsys.readouterr().out
    assert "1 of 4 runs diagnosed" in told
    assert "1 diverged and have no trained weights to look at" in told
    assert "2 failed" in told
    assert set(read_records(study, "lesions").run_id) == {folders[2].name}
    reasons = read_records(study, "failed_diagnoses")
    assert set(reasons.run_id) == {folders[0].name, folders[1].name}
    [note] = [note for note in load_study(study).notes if "lesion" in note]
    assert note.startswith("diagnostic=lesion failed on 2 runs: ")
    with monkeypatch.context() as patched:
        patched.setattr(sys, "argv", ["status.py", str(study)])
        status.main()
    assert note in capsys.readouterr().out.splitlines()


def test_a_diverged_run_is_not_called_diagnosed(tmp_path, capsys):
    wild = SGDConfig(learning_rate=1e18)
    run = execute(small_config(tmp_path, optimizer=wild, study="wild")).folder
    lesion = LesionConfig(images=8, samples=1)
    for _ in range(2):
        diagnose_command.diagnose(DiagnoseConfig(run=str(run), diagnostic=lesion))
        told = capsys.readouterr().out.splitlines()[0]
        assert told.startswith("0 of 1 runs diagnosed, 1 diverged")
        assert told.endswith("diagnostic.at=initialization")
    drawn = replace(lesion, at="both")
    diagnose_command.diagnose(DiagnoseConfig(run=str(run), diagnostic=drawn))
    assert "1 of 1 runs diagnosed" in capsys.readouterr().out


@pytest.mark.slow
def test_the_command_ends_with_status_1_and_one_line_per_failed_run(tmp_path):
    folder = execute(small_config(tmp_path, steps=2, study="one")).folder
    execute(small_config(tmp_path, steps=2, seed=1, study="one"))
    (folder / "final.pt").unlink()
    options = [f"run={tmp_path / 'one'}", "diagnostic=lesion", "diagnostic.images=16"]
    done = command(*options, cwd=tmp_path)
    assert done.returncode == 1
    [line] = [line for line in done.stderr.splitlines() if "run/s]" not in line and line]
    assert line.startswith(f"error: {folder}: lesion of the network trained: ")
    assert "1 of 2 runs diagnosed, 1 failed" in done.stdout


def test_one_reason_for_both_ends_is_given_once(ended, monkeypatch):
    folder, config = ended
    failing(monkeypatch)
    both = LesionConfig(at="both", images=8, samples=1)
    with pytest.raises(GradflowError) as raised:
        diagnose_ended(replace(config, diagnostic=both), folder)
    assert str(raised.value).startswith(f"{folder}: lesion of the network as drawn and trained: ")
    assert str(raised.value).count("no kernel") == 1
    assert sorted(read_records(folder, "failed_diagnoses").step) == [0, 4]
