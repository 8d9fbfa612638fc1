"""Diagnoses of runs: what is recorded, once, whole, and of the right weights."""

import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from gradflow.config.diagnostics import NoDiagnosticConfig
from gradflow.config.registry import classes_of
from gradflow.core.errors import GradflowError
from gradflow.data.dataset import load_dataset
from gradflow.diagnostics import landscape
from gradflow.diagnostics.curvature import CurvatureConfig
from gradflow.diagnostics.jacobian import JacobianConfig
from gradflow.diagnostics.landscape import LandscapeConfig
from gradflow.diagnostics.lesion import LesionConfig
from gradflow.diagnostics.paths import PathsConfig
from gradflow.networks import build_network
from gradflow.networks.families.mlp import MlpConfig
from gradflow.records import pending, read_records
from gradflow.runs import diagnosis
from gradflow.runs.execute import diagnose_ended, execute
from gradflow.runs.planning import plan
from gradflow.training.optimizers.sgd import SGDConfig
from tests.support.configs import small_config

ROOT = Path(__file__).parents[2]
TABLE = {"jacobian": "singular_values", "lesion": "lesions"}  # others are named as the diagnostic

SMALL = {
    LandscapeConfig: {"line": 3, "plane": 3},
    JacobianConfig: {"exact_up_to": 10, "values": 2, "examples": 1},
    CurvatureConfig: {"vectors": 2},
}


@pytest.fixture
def ended(tmp_path):
    """A run of four steps that was not diagnosed, and its config."""
    config = small_config(tmp_path, steps=4, study="few")
    return execute(config).folder, config


@pytest.mark.numeric
@pytest.mark.parametrize(
    "kind",
    [c for c in classes_of("diagnostic") if c is not NoDiagnosticConfig],
    ids=lambda c: c.__name__,
)
def test_a_run_is_diagnosed_at_both_ends_once(ended, kind):
    folder, config = ended
    small = SMALL.get(kind, {})
    diagnostic = kind(at="both", images=8, **small)
    wanted = replace(config, diagnostic=diagnostic)
    assert plan(wanted).state == "undiagnosed"
    assert plan(wanted).is_wanted
    assert not execute(wanted).skipped
    table = TABLE.get(diagnostic.name, diagnostic.name)
    rows = read_records(folder, table)
    assert sorted(rows.step.unique()) == [0, 4]
    assert read_records(folder, "diagnoses").name.tolist() == [diagnostic.name] * 2
    assert plan(wanted).state == "finished"
    assert execute(wanted).skipped
    pd.testing.assert_frame_equal(rows, read_records(folder, table))
    assert plan(replace(wanted, diagnostic=kind(at="final", images=6, **small))).is_wanted


def test_a_diagnosis_belongs_to_the_run_and_changes_not_its_identity(tmp_path):
    config = small_config(tmp_path, steps=2, diagnostic=LesionConfig(images=8, samples=1))
    folder = execute(config).folder
    assert plan(replace(config, diagnostic=NoDiagnosticConfig())).folder == folder
    assert not pending(folder, config.diagnostic)


@pytest.mark.numeric
def test_the_trained_network_is_diagnosed_as_the_run_evaluated_it(tmp_path):
    """In float64, in which no rounding decides between two classes."""
    lesion = LesionConfig(samples=1)
    config = small_config(tmp_path, steps=12, diagnostic=lesion, dtype="float64")
    folder = execute(config).folder
    lesions = read_records(folder, "lesions")
    [run] = read_records(folder, "runs").to_dict("records")
    [whole] = lesions[lesions.lesion == "none"].error
    assert whole == pytest.approx(run["final_test_error"], abs=1e-12)


@pytest.mark.numeric
def test_the_drawn_network_is_the_one_of_the_seed(tmp_path):
    """The gradient by path length at initialisation belongs to the weights of the run's seed."""
    network = MlpConfig(depth=8, width=8)
    config = small_config(tmp_path, network=network, seed=5, steps=1)
    frozen = diagnosis.freeze(
        config,
        PathsConfig(),
        tmp_path,
        load_dataset(config.data, tmp_path / ".cache"),
        trained=False,
        dtype=torch.float32,
    )
    fresh = build_network("mlp", image_shape=(1, 8, 8), depth=8, width=8, seed=5)
    for name, weight in fresh.named_parameters():
        assert torch.equal(weight, frozen.network.get_parameter(name))


def test_a_diagnosis_that_was_killed_while_it_wrote_is_there_once(ended, monkeypatch):
    folder, config = ended
    wanted = replace(config, diagnostic=LesionConfig(images=8, samples=1))

    def dies(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(diagnosis, "settings_of", dies)
        with pytest.raises(KeyboardInterrupt):
            execute(wanted)
    left = read_records(folder, "lesions")
    assert pending(folder, wanted.diagnostic) == [True]
    execute(wanted)
    pd.testing.assert_frame_equal(left, read_records(folder, "lesions"))


def test_a_landscape_that_was_interrupted_goes_on(ended, tmp_path, monkeypatch):
    folder, config = ended
    wanted = replace(config, diagnostic=LandscapeConfig(images=8, line=3, plane=5))
    measure, seen = landscape.loss_at, []

    def dies_after_ten(frozen, directions, point):
        if len(seen) == 10:
            raise KeyboardInterrupt
        seen.append(point)
        return measure(frozen, directions, point)

    with monkeypatch.context() as patched:
        patched.setattr(landscape, "loss_at", dies_after_ten)
        with pytest.raises(KeyboardInterrupt):
            execute(wanted)
    assert len(read_records(folder, "landscape")) == 8  # the line of 3, one row of 5
    again = []
    monkeypatch.setattr(landscape, "loss_at", lambda *a: again.append(a[2]) or measure(*a))
    execute(wanted)
    rows = read_records(folder, "landscape")
    assert len(again) == 20
    assert len(rows) == len(rows.drop_duplicates(["surface", "x", "y"])) == 28
    other = replace(wanted, output_root=str(tmp_path / "other"))
    expected = read_records(execute(other).folder, "landscape")
    order = ["surface", "y", "x"]
    pd.testing.assert_frame_equal(
        *(f.sort_values(order, ignore_index=True).drop(columns="run_id") for f in (rows, expected))
    )


def test_ctrl_c_ends_a_diagnosis_at_once(ended, monkeypatch):
    folder, config = ended
    seen = []

    def measure(frozen, directions, point):
        seen.append(point)
        signal.raise_signal(signal.SIGINT)
        return 0.0, 0.0

    monkeypatch.setattr(landscape, "loss_at", measure)
    with pytest.raises(KeyboardInterrupt):
        execute(replace(config, diagnostic=LandscapeConfig(images=8, line=3, plane=3)))
    assert len(seen) == 1
    assert not (folder / "landscape").exists()


def test_a_run_that_diverged_is_diagnosed_as_it_was_drawn(tmp_path):
    wild = SGDConfig(learning_rate=1e18)
    config = small_config(tmp_path, optimizer=wild, diagnostic=PathsConfig(images=4, samples=2))
    result = execute(config)
    assert result.status == "diverged"
    assert set(read_records(result.folder, "paths").step) == {0}


def test_without_its_final_weights_a_run_is_not_diagnosed(ended):
    folder, config = ended
    (folder / "final.pt").unlink()
    with pytest.raises(GradflowError, match="no trained weights to be read there"):
        diagnose_ended(replace(config, diagnostic=LesionConfig()), folder)
    assert not (folder / "lesions").exists()


def test_a_diagnosis_of_more_images_than_there_are_is_refused_before_the_training(tmp_path):
    with pytest.raises(GradflowError, match="diagnostic.images=200: must be <= data.subset=128"):
        small_config(tmp_path, diagnostic=PathsConfig(images=200))


def command(*arguments, cwd=None):
    script = ROOT / "experiments" / "diagnose.py"
    return subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, cwd=cwd
    )


@pytest.mark.slow
def test_the_command_diagnoses_a_study_wherever_it_lies(study_folder, tmp_path):
    moved = tmp_path / "elsewhere" / "moved"
    for run in sorted(study_folder.glob("*/runs"))[:2]:
        shutil.copytree(run.parent, moved / run.parent.name)
    options = [f"run={moved}", "diagnostic=lesion", "diagnostic.samples=1", "diagnostic.images=16"]
    done = command(*options)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 runs diagnosed" in done.stdout
    assert read_records(moved, "lesions").run_id.nunique() == 2
    assert "0 of 2 runs diagnosed" in command(*options).stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run=nowhere"], "run=nowhere: no such folder"),
        ([], "run"),
        (
            ["run=.", "diagnostic=lesions"],
            "lesions: no such file in conf/; choose one of curv",
        ),
        (
            ["run=.", "diagnostic=landscape", "diagnostic.plane=4"],
            "plane=4: must be odd",
        ),
        (["run=.", "diagnostic=off"], "diagnostic.name=off: names what to measure"),
        (["run=."], "run=.: no run has ended there"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, arguments, told):
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert told in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_diagnosis_by_other_code_says_so_and_mixes_no_landscapes(ended, monkeypatch, capsys):
    folder, config = ended
    wanted = replace(config, diagnostic=LandscapeConfig(images=8, line=3, plane=3))
    measure, seen = landscape.loss_at, []

    def dies_after_five(frozen, directions, point):
        if len(seen) == 5:
            raise KeyboardInterrupt
        seen.append(point)
        return measure(frozen, directions, point)

    with monkeypatch.context() as patched:
        patched.setattr(landscape, "loss_at", dies_after_five)
        with pytest.raises(KeyboardInterrupt):
            execute(wanted)
    assert not capsys.readouterr().err
    assert len(read_records(folder, "landscape")) == 3
    monkeypatch.setattr(diagnosis, "code_version", lambda purpose="run": f"other {purpose}")
    execute(wanted)
    rows = read_records(folder, "landscape")
    assert len(rows) == 12
    assert set(rows.code_version) == {"other diagnosis"}
    [line] = capsys.readouterr().err.splitlines()
    [trained_by] = read_records(folder, "runs").code_version
    assert line == f"{folder}: trained by code {trained_by}, diagnosed by code other run"
