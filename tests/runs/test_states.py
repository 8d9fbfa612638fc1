"""What a study's folder tells about its runs, and which of them a restart does."""

from dataclasses import replace

import pandas as pd
import pytest

from gradflow.analysis.status import report, seconds_left
from gradflow.analysis.study import load_study
from gradflow.core.errors import GradflowError
from gradflow.core.interrupts import Interrupted
from gradflow.core.locks import held, lock_of
from gradflow.core.provenance import code_version
from gradflow.records import read_records
from gradflow.runs.execute import execute
from gradflow.runs.forecast import forecast
from gradflow.runs.planning import announce, plan
from gradflow.runs.status import is_running, state_of, study_states
from tests.support.configs import small_config
from tests.support.processes import interrupt_at
from tests.support.watched import watched


def fail(*_, **__):
    raise ValueError("no luck today")


@pytest.fixture
def mixed(tmp_path, monkeypatch):
    """One run in each state, by seed: 0 finished, 1 interrupted, 2 failed, 3 missing, 4 running,
    5 diverged."""
    from gradflow.training.optimizers.sgd import SGDConfig

    runs = [plan(small_config(tmp_path, seed=seed, study="mixed")) for seed in range(5)]
    runs.append(
        plan(
            small_config(
                tmp_path, seed=5, steps=40, study="mixed", optimizer=SGDConfig(learning_rate=1e30)
            )
        )
    )
    execute(runs[0].config)
    execute(runs[5].config)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3)
        with pytest.raises(Interrupted):
            execute(runs[1].config)
    with monkeypatch.context() as patch:
        patch.setattr("gradflow.runs.execute.train", fail)
        with pytest.raises(ValueError, match="no luck"):
            execute(runs[2].config)
    announce(runs[3])
    announce(runs[4])
    with held(lock_of(runs[4].folder)):
        yield runs


STATES = ["finished", "interrupted", "failed", "missing", "running", "diverged"]


def test_states_are_told_from_the_folder(mixed):
    assert [state_of(run.folder) for run in mixed] == STATES
    found = study_states(mixed[0].folder.parent).set_index("run_id")
    assert [found.state[run.folder.name] for run in mixed] == STATES
    assert [found.steps_done[run.folder.name] for run in mixed[:4]] == [8, 3, 0, 0]
    assert found.error[mixed[2].folder.name] == "ValueError: no luck today"
    assert not found.stale.any()
    assert found.bytes.min() > 0


def test_the_report_counts_and_names(mixed):
    runs = study_states(mixed[0].folder.parent)
    text = report(runs)
    for state in STATES:
        assert f"     1 {state}" in text
    assert "residual-8 seed 2" in text
    assert "no luck today" in text
    assert "seed 3" not in text
    assert "seed 3" in report(runs, every=True)


def test_a_run_killed_before_it_could_say_anything_is_interrupted(tmp_path):
    run = plan(small_config(tmp_path))
    assert run.state == "missing"
    announce(run)
    assert state_of(run.folder) == "missing"
    (run.folder / "checkpoint.pt").touch()
    assert state_of(run.folder) == "interrupted"


def test_runs_of_other_code_are_shown_as_stale(tmp_path, monkeypatch):
    folder = execute(small_config(tmp_path)).folder.parent
    monkeypatch.setattr("gradflow.runs.status.code_version", lambda: code_version() + "x")
    runs = study_states(folder)
    assert runs.stale.all()
    assert "1 stale" in report(runs)


def test_time_left_is_in_proportion_to_what_is_left():
    runs = pd.DataFrame(
        {
            "state": ["finished", "finished", "running", "missing"],
            "depth": [10, 20, 20, 40],
            "steps_done": [100, 100, 50, 0],
            "steps": [100, 100, 100, 100],
            "seconds": [10.0, 30.0, None, None],
        }
    )
    # By hand: depth 20 takes 30 s for 100 steps, so 15 s are left of it, and 60 s at depth 40.
    assert seconds_left(runs) == pytest.approx(75)
    assert seconds_left(runs[2:]) is None


@pytest.mark.parametrize(
    ("only", "done"),
    [("failed", ["failed"]), ("missing", ["missing"])],
)
def test_only_does_the_runs_of_one_state(mixed, only, done):
    for run, state in zip(mixed, STATES, strict=True):
        again = plan(replace(run.config, only=only))
        assert again.folder == run.folder  # the key is no part of the identity
        assert again.is_wanted == (state in done)
        if state == "running":
            continue
        result = execute(again.config)
        assert result.skipped == (state not in done)


def test_a_dry_run_does_nothing_and_says_what_would_be_done(mixed):
    study = mixed[0].folder.parent
    before = sorted(study.glob("[!.]*/**/*"))
    runs = [plan(replace(run.config, dry_run=True)) for run in mixed]
    text = forecast(runs, workers=2)
    assert execute(runs[3].config).skipped
    assert "would do 4 of 6 runs" in text
    assert "1 failed" in text
    assert "from 2 ended runs of this machine" in text
    assert sorted(study.glob("[!.]*/**/*")) == before


def test_a_lock_is_held_by_one_and_waiting_for_it_can_be_stopped(tmp_path, monkeypatch):
    run = plan(small_config(tmp_path))
    assert not is_running(run.folder)
    with held(lock_of(run.folder)):
        assert is_running(run.folder)
        monkeypatch.setattr("gradflow.core.locks.asked_to_stop", lambda: True)
        with pytest.raises(Interrupted), held(lock_of(run.folder)):
            pass
    assert not is_running(run.folder)


def test_a_folder_without_runs_is_told(tmp_path):
    with pytest.raises(GradflowError, match="no such folder"):
        study_states(tmp_path / "nowhere")
    with pytest.raises(GradflowError, match="holds no run"):
        study_states(tmp_path)


def test_watched_runs_are_of_no_study(tmp_path):
    watched(tmp_path / "runs" / "first", steps=3)
    for folder in (tmp_path / "runs", tmp_path / "runs" / "first"):
        for read in (study_states, load_study):
            with pytest.raises(GradflowError, match=f"^{folder}: holds watched runs and no study"):
                read(folder)
    run = execute(small_config(tmp_path)).folder
    watched(run.parent / "first", steps=3)
    states, rows = study_states(run.parent), load_study(run.parent).runs
    assert states.run_id.tolist() == rows.run_id.tolist() == [run.name]
    assert states.name[0].endswith("seed 0")
    columns = ["network_depth", "seed", "network_skip"]
    assert rows[columns].dtypes.equals(read_records(run, "runs")[columns].dtypes)
