"""dtype=auto: decided by a clock, once, for twins and seeds alike, before a run has an id."""

import json
from dataclasses import replace

import pytest
import torch

from gradflow.config.run_id import run_id
from gradflow.core.errors import GradflowError
from gradflow.core.progress import reporting_to
from gradflow.networks.families.cifar_resnet import CifarResNetConfig
from gradflow.networks.families.mlp import MlpConfig
from gradflow.records import read_records
from gradflow.runs import precision
from gradflow.runs.execute import execute
from gradflow.runs.precision import resolved, step_seconds
from gradflow.training.optimizers.sgd import SGDConfig
from tests.support.configs import THREADS, small_config
from tests.support.processes import command

FAST = {"float32": 2.0, "bfloat16": 1.0}
SLOW = {"float32": 1.0, "bfloat16": 8.0}


def auto(root, **options):
    return small_config(root, dtype="auto", **options)


def never(config):
    raise AssertionError("decided before")


@pytest.mark.parametrize(("times", "taken"), [(FAST, "bfloat16"), (SLOW, "float32")])
def test_the_faster_is_taken_said_and_recorded(tmp_path, monkeypatch, times, taken):
    monkeypatch.setattr(precision, "step_seconds", lambda config: times)
    precision._tell_once.cache_clear()
    lines = []
    with reporting_to(lambda progress: None, lines.append):
        result = execute(auto(tmp_path))
        again = execute(auto(tmp_path))
    [line] = lines
    assert f"dtype=auto: {taken} for network=cifar_resnet network.depth=8" in line
    assert read_records(result.folder, "runs").dtype[0] == taken
    assert f"dtype: {taken}" in (result.folder / "config.yaml").read_text()
    assert again.skipped
    assert again.folder == result.folder
    asked = execute(small_config(tmp_path, dtype=taken))  # the same run as if it had been asked for
    assert asked.skipped
    assert asked.folder == result.folder


def test_twins_and_seeds_agree_and_the_residual_one_is_timed(tmp_path):
    calls = []

    def measure(config):
        calls.append(config)
        return FAST if len(calls) % 2 else SLOW

    for skip in (False, True):
        for seed in (0, 1):
            for optimizer in (SGDConfig(), SGDConfig(learning_rate=0.3)):
                config = auto(tmp_path, skip=skip, seed=seed, optimizer=optimizer)
                assert resolved(config, measure) == replace(config, dtype="bfloat16")
    [timed] = calls
    assert timed.network.skip
    drawn = replace(
        auto(tmp_path), network=CifarResNetConfig(depth=8, width=4, initialization="xavier")
    )
    assert resolved(drawn, never).dtype == "bfloat16"
    # Another size of network, batch or number of threads is timed for itself.
    for number, other in enumerate(
        (
            auto(tmp_path, depth=14),
            auto(tmp_path, network=MlpConfig()),
            replace(auto(tmp_path), data=replace(auto(tmp_path).data, batch_size=16)),
            auto(tmp_path, threads=THREADS + 1),
        )
    ):
        assert resolved(other, measure).dtype == ("float32", "bfloat16")[number % 2]


def test_a_decision_is_remembered_for_this_machine_alone(tmp_path, monkeypatch):
    assert resolved(auto(tmp_path), lambda config: FAST).dtype == "bfloat16"
    assert resolved(auto(tmp_path), never).dtype == "bfloat16"
    with monkeypatch.context() as patch:
        patch.setattr("gradflow.runs.precision.instruction_set", lambda device: "another")
        assert resolved(auto(tmp_path), lambda config: SLOW).dtype == "float32"
    assert resolved(auto(tmp_path), never).dtype == "bfloat16"
    kept = json.loads((tmp_path / ".cache" / "dtypes.json").read_text())
    assert [one["dtype"] for one in kept.values()] == ["bfloat16", "float32"]
    assert sorted(p.suffix for p in (tmp_path / ".cache").glob("dtypes*")) == [".json", ".lock"]
    (tmp_path / ".cache" / "dtypes.json").write_text("{torn")
    with pytest.raises(GradflowError, match=r"dtypes.json: .* cannot be read .* delete the file"):
        resolved(auto(tmp_path), never)


def test_another_dtype_is_left_alone_and_auto_has_no_id(tmp_path):
    config = small_config(tmp_path)
    assert resolved(config, never) is config
    with pytest.raises(ValueError, match="dtype=auto is resolved before"):
        run_id(auto(tmp_path), "data")
    assert not (tmp_path / ".cache").exists()


def test_both_are_timed_and_nothing_else_is_touched(tmp_path, monkeypatch):
    """Of the step's time nothing is asserted; a run after it is the run without it."""
    monkeypatch.setattr(precision, "SECONDS", 0.1)
    plain = execute(small_config(tmp_path / "without", network=MlpConfig())).folder
    state = torch.random.get_rng_state()
    times = step_seconds(small_config(tmp_path, network=MlpConfig()))
    assert set(times) == {"float32", "bfloat16"}
    assert all(seconds > 0 for seconds in times.values())
    assert torch.equal(torch.random.get_rng_state(), state)
    after = execute(small_config(tmp_path / "after", network=MlpConfig())).folder
    for table in ("steps", "layers", "blocks"):
        assert read_records(plain, table).equals(read_records(after, table))


@pytest.mark.slow
def test_a_study_of_workers_goes_by_one_decision(tmp_path):
    import subprocess

    sweep = ["-m", "network.depth=8", "network.skip=false,true", "seed=0,1", "steps=4"]
    sweep += ["dtype=auto", "study.name=s"]
    for _ in range(2):  # the second time nothing is left to do
        done = subprocess.run(command(tmp_path, *sweep), capture_output=True, text=True, check=True)
        assert done.stderr.count("dtype=auto: ") == 1
    runs = read_records(tmp_path / "s", "runs")
    assert len(runs) == 4
    assert runs.dtype.nunique() == 1
