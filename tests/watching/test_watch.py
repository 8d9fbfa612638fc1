"""watch(): what it records, what it refuses, and that the training is what it was."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.optimizer import _global_optimizer_pre_hooks

import gradflow
from gradflow.analysis.report.run_page import make_run_page
from gradflow.analysis.watched import load_run
from gradflow.core.errors import GradflowError
from gradflow.records import has_ended, read_records
from tests.support.watched import batches, residual, train, watched


def test_the_training_is_what_it_was_bit_for_bit(tmp_path):
    alone, seen = residual(), residual()
    losses = train(alone, 12)
    with gradflow.watch(seen, tmp_path / "a", every=2) as watch:
        assert train(seen, 12, watch) == losses
    for mine, theirs in zip(seen.parameters(), alone.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert not any(module._forward_hooks for module in seen.modules())


def test_records_are_those_of_a_study(tmp_path):
    model, losses = residual(), []
    with gradflow.watch(model, tmp_path / "a", every=4, settings={"batch": 32}) as watch:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        for step, (x, y) in enumerate(batches(10)):
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            if step == 4:
                expected = model[3].up.weight.grad.norm().item()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
            watch.step(loss, learning_rate=0.5, accuracy=torch.tensor([step / 10]))
    layers = read_records(watch.folder, "layers")
    assert sorted(layers.step.unique()) == [0, 4, 8]
    row = layers[(layers.step == 4) & (layers.layer_name == "3.up")].iloc[0]
    assert row.grad_norm == pytest.approx(expected, rel=1e-6)
    assert row.update_norm == pytest.approx(0.5 * expected, rel=1e-4)
    blocks = read_records(watch.folder, "blocks")
    assert blocks.block_name[blocks.step == 8].tolist() == [*"123456", "end of 6"]
    assert blocks.skip_share[blocks.block_name != "end of 6"].notna().all()
    assert read_records(watch.folder, "block_details").step.unique().tolist() == [0]
    steps = read_records(watch.folder, "steps")
    assert steps.loss.tolist() == pytest.approx(losses, rel=1e-6)  # stored as float32
    assert steps.learning_rate.tolist() == [0.5] * 10
    scalars = read_records(watch.folder, "scalars")
    assert scalars.name.unique().tolist() == ["accuracy"]
    assert scalars.value.tolist() == pytest.approx(np.arange(10) / 10)
    settings = read_records(watch.folder, "settings").set_index("key").value
    assert settings.to_dict() == {"model": "Sequential", "batch": "32"}
    run = read_records(watch.folder, "runs").iloc[0]
    assert (run.run_id, run.status, run.steps_done) == ("a", "finished", 10)
    attempt = read_records(watch.folder, "attempts").iloc[0]
    assert attempt.recording_share == pytest.approx(watch.share)
    assert 0 < watch.share < 1
    assert f"measuring took {100 * watch.share:.1f} %" in watch.account


def test_a_plain_object_and_accumulated_gradients(tmp_path):
    model = residual()
    watch = gradflow.watch(model, tmp_path / "a", every=1).start()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for x, y in batches(2):
        for part in (slice(0, 16), slice(16, 32)):
            (nn.functional.cross_entropy(model(x[part]), y[part]) / 2).backward()
        expected = model[2].up.weight.grad.norm().item()
        optimizer.step()
        optimizer.zero_grad()
        watch.step()
    watch.close()
    watch.close()
    layers = read_records(watch.folder, "layers", where={"step": 1}).set_index("layer_name")
    assert layers.grad_norm["2.up"] == pytest.approx(expected, rel=1e-6)
    with pytest.warns(UserWarning, match="step\\(\\) outside of start"):
        watch.step()
    with pytest.raises(GradflowError, match="has begun already"):
        watch.start()


def test_records_are_there_while_it_runs_and_after_a_death(tmp_path):
    model = residual()
    watch = gradflow.watch(model, tmp_path / "a", every=2).start()
    with pytest.raises(GradflowError, match="nothing has been measured"):
        watch.plot()
    train(model, 5, watch)
    watch.flush()
    run = load_run(watch.folder)
    assert run.outcome is None
    assert run.layers.step.unique().tolist() == [0, 2, 4]
    make_run_page(watch.folder)
    assert "has not been closed" in (watch.folder / "report.html").read_text()
    watch.close()
    assert has_ended(watch.folder)


def test_an_error_of_the_training_stays_what_it_is_and_is_recorded(tmp_path):
    model = residual()

    def fails(step):
        if step == 3:
            raise RuntimeError("out of data")

    with (
        pytest.raises(RuntimeError, match="out of data"),
        gradflow.watch(model, tmp_path / "a", every=2) as watch,
    ):
        train(model, 5, watch, before=fails)
    assert read_records(watch.folder, "attempts").error[0] == "RuntimeError: out of data"
    assert read_records(watch.folder, "layers").step.unique().tolist() == [0, 2]


def test_nothing_raises_into_the_training(tmp_path):
    model = residual(without_skip=2)
    with gradflow.watch(model, tmp_path / "a", on_alert=lambda alert: 1 / 0, every=2) as watch:
        with pytest.warns(UserWarning, match="ZeroDivisionError"):
            train(model, 3, watch)
        with pytest.warns(UserWarning, match="step 3: ValueError"):
            watch.step("a word")
        with pytest.warns(UserWarning, match="step 4: RuntimeError"):
            watch.step(torch.ones(2, 2))
    assert [alert.kind for alert in watch.alerts] == ["missing_skip"]  # and recorded all the same
    assert read_records(watch.folder, "alerts").place.tolist() == ["3"]


def scaled_steps(model, watch, scaler):
    """Six steps of bfloat16 autocast with a GradScaler and clipping."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for x, y in batches(6):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = nn.functional.cross_entropy(model(x), y)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        losses.append(loss.item())
        watch.step(loss)
    return losses


def test_a_scaler_that_is_not_given_is_found_at_its_first_step(tmp_path):
    """Its scale, 65536, would be in every gradient: the first step is left out, with a warning."""
    norms, losses, hooks = [], [], len(_global_optimizer_pre_hooks)
    for name in ("given", "found", "off"):
        scaler = torch.amp.GradScaler("cpu", enabled=name != "off")
        model = residual()
        watch = gradflow.watch(
            model, tmp_path / name, every=1, scaler=scaler if name == "given" else None
        )
        with watch, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            losses.append(scaled_steps(model, watch, scaler))
        texts = [str(warning.message) for warning in caught]
        assert len(texts) == (name == "found")
        assert all("a GradScaler is in use: give it, as scaler=" in text for text in texts)
        layers = read_records(watch.folder, "layers")
        assert layers.step.unique().tolist() == list(range(name == "found", 6))
        norms.append(layers[layers.step > 0].grad_norm.tolist())
    assert losses[0] == losses[1] == losses[2]
    assert norms[0] == norms[1] == pytest.approx(norms[2], rel=1e-6)
    assert len(_global_optimizer_pre_hooks) == hooks


def test_step_before_the_optimizer_is_noticed(tmp_path):
    model = residual()

    def steps(watch):
        for x, y in batches(3):
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            watch.step(loss)

    with (
        gradflow.watch(model, tmp_path / "a", every=1) as watch,
        pytest.warns(UserWarning, match="call it after the optimizer"),
    ):
        steps(watch)


class Nothing(nn.Module):
    pass


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"model": "gpt"}, "model=gpt: must be a torch.nn.Module"),
        ({"model": Nothing()}, "Nothing: has no weighted layer"),
        ({"folder": 3}, "folder=3: must be a path"),
        ({"every": 0}, "every=0: must be >= 1"),
        ({"every": 2.5}, "every=2.5: must be a whole number"),
        ({"details": -1}, "details=-1: must be >= 1"),
        ({"settings": [1]}, "settings=\\[1\\]: must be name -> value"),
        ({"on_alert": 1}, "on_alert=1: must be a function"),
    ],
)
def test_typed_values_at_the_door(tmp_path, change, line):
    options = {"model": nn.Linear(2, 2), "folder": tmp_path / "a"} | change
    with pytest.raises(GradflowError, match=line):
        gradflow.watch(**options)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_refused(tmp_path):
    watched(tmp_path / "a", 3)
    with pytest.raises(GradflowError, match="a: holds the records of a run already; give a new"):
        gradflow.watch(nn.Linear(2, 2), tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").touch()
    with pytest.raises(GradflowError, match="b: holds thesis.tex already"):
        gradflow.watch(nn.Linear(2, 2), tmp_path / "b")
    (tmp_path / "file").touch()
    with pytest.raises(GradflowError, match="file: File exists"):
        gradflow.watch(nn.Linear(2, 2), tmp_path / "file")


BACKEND = """
import sys, torch, gradflow, matplotlib
matplotlib.use("svg")
model = torch.nn.Linear(2, 2)
with gradflow.watch(model, sys.argv[1]) as watch:
    model(torch.ones(1, 2)).sum().backward()
    watch.step()
made = watch.plot()
assert made._repr_png_().startswith(b"\\x89PNG")
assert matplotlib.get_backend() == "svg", matplotlib.get_backend()
"""


def test_the_backend_of_matplotlib_is_the_users(tmp_path):
    command = [sys.executable, "-W", "error", "-c", BACKEND, str(tmp_path / "a")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
