"""Runs: equal records from equal seeds, divergence as a result, what is written where."""

import copy
import math
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from gradflow.config.hydra_bridge import load_run_config
from gradflow.config.probes import EveryConfig, ListedConfig, OffConfig
from gradflow.config.run import EvaluationConfig
from gradflow.config.run_id import flatten, run_id
from gradflow.data.batches import Normalizer
from gradflow.data.dataset import load_dataset
from gradflow.networks import make_network
from gradflow.probes.norms import square
from gradflow.records import SCHEMAS, RecordWriter, read_records
from gradflow.records.diagnostic_schema import diagnostic_schemas
from gradflow.records.watched_schema import WATCHED_SCHEMAS
from gradflow.runs.execute import execute
from gradflow.training.evaluation import Subject, evaluate, evaluate_splits
from gradflow.training.optimizers import build_optimizer
from gradflow.training.optimizers.adamw import AdamWConfig
from gradflow.training.optimizers.sgd import SGDConfig
from gradflow.training.tasks import classify
from tests.support.configs import small_config

pytestmark = pytest.mark.numeric

EQUAL_TABLES = sorted(set(SCHEMAS) - {"attempts", *WATCHED_SCHEMAS, *diagnostic_schemas()})


def sorted_records(folder, table):
    frame = read_records(folder, table)
    keys = [k for k in ("run_id", "step", "split", "layer_index", "block_index") if k in frame]
    return frame.sort_values(keys).reset_index(drop=True)


def test_same_seed_same_records(tmp_path):
    """Invariant 3, here in one process: every table but attempts is equal bit for bit."""
    one = execute(small_config(tmp_path / "one")).folder
    torch.manual_seed(123)
    two = execute(small_config(tmp_path / "two", study="elsewhere")).folder
    assert one.name == two.name
    for table in EQUAL_TABLES:
        pd.testing.assert_frame_equal(
            sorted_records(one, table), sorted_records(two, table), check_exact=True
        )


def test_another_seed_is_another_run(tmp_path):
    one, two = (execute(small_config(tmp_path, seed=seed)).folder for seed in (0, 1))
    assert one.name != two.name
    assert read_records(one, "steps").loss.tolist() != read_records(two, "steps").loss.tolist()


def test_probes_change_no_record(tmp_path):
    """Invariant 2 through the whole loop."""
    tables = []
    for probe, details in ((OffConfig(), OffConfig()), (EveryConfig(every=1),) * 2):
        folder = execute(small_config(tmp_path, probe=probe, details=details)).folder
        tables.append(sorted_records(folder, "steps").drop(columns="run_id"))
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_twins_see_identical_batches_and_first_loss_differs_by_the_skip(tmp_path):
    plain, residual = (execute(small_config(tmp_path, skip=s)).folder for s in (False, True))
    for column in ("step", "epoch", "learning_rate"):
        assert (
            read_records(plain, "steps")[column] == read_records(residual, "steps")[column]
        ).all()
    assert read_records(plain, "steps").loss[0] != read_records(residual, "steps").loss[0]


def test_tables_of_a_run(tmp_path):
    result = execute(small_config(tmp_path, depth=14, steps=8))
    steps = read_records(result.folder, "steps")
    assert steps.step.tolist() == list(range(8))
    assert steps.epoch.tolist() == [0] * 4 + [1] * 4  # 128 images, batches of 32
    layers = read_records(result.folder, "layers")
    assert sorted(layers.step.unique()) == [0, 3, 6, 7]
    assert len(layers) == 4 * 14
    assert layers.grad_norm.gt(0).all()
    assert layers.query("layer_index == 0").block_index.isna().all()
    blocks = read_records(result.folder, "blocks")
    assert sorted(blocks.block_index.unique()) == list(range(7))  # six blocks and the head
    evaluations = read_records(result.folder, "evaluations")
    assert evaluations.groupby("split").step.apply(list).to_dict() == {
        "train": [4, 8],
        "test": [4, 8],
    }
    run = read_records(result.folder, "runs").iloc[0]
    last = evaluations.query("step == 8 and split == 'train'").iloc[0]
    assert (run.final_train_error, run.final_train_loss) == (last.error, last.loss)
    assert run.network_depth == 14
    assert run.optimizer_momentum == 0.9
    assert pd.isna(run.optimizer_beta1)  # a key of AdamW
    attempt = read_records(result.folder, "attempts").iloc[0]
    assert attempt.wall_seconds > 0
    assert pd.isna(attempt.error)


def test_recorded_gradients_are_autograds(tmp_path):
    """The first rows against gradients computed here without probe, recorder or loop."""
    config = small_config(tmp_path, dtype="float64")
    folder = execute(config).folder
    data = load_dataset(config.data, tmp_path / ".cache")
    network = make_network(config.network, (1, 8, 8), 10, config.seed).double()
    order = torch.randperm(
        128, generator=torch.Generator().manual_seed(_seed(config.seed, "order", 0))
    )[:32]
    pixels = data.train_images.numpy().astype(np.float64)
    centred = pixels - pixels.mean(axis=0)
    images = torch.from_numpy(centred / np.sqrt((centred**2).mean()))[order]
    loss = F.cross_entropy(network(images), data.train_labels[order])
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    total = math.sqrt(sum(g.square().sum().item() for g in gradients))
    weights = [g.norm().item() for g in gradients if g.ndim > 1]
    step = read_records(folder, "steps").iloc[0]
    layers = read_records(folder, "layers", where={"step": 0}).sort_values("layer_index")
    # Records are float32: equal to its rounding, 2^-24.
    assert step.loss == pytest.approx(loss.item(), rel=1e-7)
    assert step.grad_norm == pytest.approx(total, rel=1e-7)
    np.testing.assert_allclose(layers.grad_norm, weights, rtol=1e-7)


def _seed(seed, purpose, index):
    import hashlib

    digest = hashlib.sha256(f"{seed}/{purpose}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def test_divergence_is_a_result(tmp_path):
    result = execute(
        small_config(tmp_path, steps=30, optimizer=SGDConfig(learning_rate=1e30), skip=True)
    )
    assert result.status == "diverged"
    run = read_records(result.folder, "runs").iloc[0]
    steps = read_records(result.folder, "steps")
    assert steps.step.max() == run.diverged_at == run.steps_done - 1
    assert not np.isfinite(steps.loss.iloc[-1])
    assert np.isfinite(steps.loss.iloc[:-1]).all()
    assert read_records(result.folder, "layers").step.max() <= run.diverged_at
    assert pd.isna(run.final_train_error)


def test_a_finished_run_is_not_done_again(tmp_path):
    first = execute(small_config(tmp_path))
    before = {p: p.stat().st_mtime_ns for p in first.folder.rglob("*.parquet")}
    second = execute(small_config(tmp_path))
    assert second.skipped
    assert not first.skipped
    assert second._replace(skipped=False) == first
    assert {p: p.stat().st_mtime_ns for p in first.folder.rglob("*.parquet")} == before


def test_a_half_written_run_begins_anew(tmp_path):
    whole = execute(small_config(tmp_path / "whole")).folder
    folder = tmp_path / "scratch" / whole.name
    for path in whole.rglob("part-*.parquet"):
        if path.parent.name not in ("runs", "attempts"):
            copy = folder / path.parent.name / path.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    assert not execute(small_config(tmp_path)).skipped
    for table in EQUAL_TABLES:
        assert len(read_records(folder, table)) == len(read_records(whole, table))


def test_config_of_a_run_is_read_back(tmp_path):
    config = small_config(tmp_path)
    result = execute(config)
    back = load_run_config(result.folder / "config.yaml")
    assert run_id(back, "x") == run_id(config, "x")


def test_training_lowers_the_loss(tmp_path):
    folder = execute(small_config(tmp_path, steps=60)).folder
    loss = read_records(folder, "steps").loss
    # In units of log 10, the loss of knowing nothing; over 12 seeds the means are 1.04 and 0.14,
    # the deviations 0.02 and 0.03, and another CPU is like another seed.
    assert loss[:5].mean() > 0.85 * math.log(10)
    assert loss[-5:].mean() < 0.5 * math.log(10)


def test_an_error_is_kept_in_the_attempts_table(tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("out of luck")

    monkeypatch.setattr("gradflow.training.between_steps.evaluate_splits", fail)
    with pytest.raises(RuntimeError, match="out of luck"):
        execute(small_config(tmp_path))
    attempt = read_records(tmp_path / "scratch", "attempts").iloc[0]
    assert attempt.error == "RuntimeError: out of luck"
    assert "fail" in attempt.traceback
    assert not list(tmp_path.glob("scratch/*/runs"))
    monkeypatch.undo()
    assert execute(small_config(tmp_path)).status == "finished"


def test_evaluation_is_in_evaluation_mode_and_leaves_no_trace(tmp_path):
    data = load_dataset(small_config(tmp_path).data, tmp_path)
    network = make_network(small_config(tmp_path).network, (1, 8, 8), 10, 0).double().train()
    normalize = Normalizer(data.train_images, torch.float64)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    loss, error = evaluate(network, classify, data.test_images, data.test_labels, normalize)
    assert network.training
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    with torch.no_grad():
        logits = network.eval()(normalize(data.test_images))  # float64: two batches round as one
    picked = logits.log_softmax(1)[torch.arange(360), data.test_labels]
    assert loss == pytest.approx(-picked.mean().item(), rel=1e-12)
    wrong = (logits.argmax(1) != data.test_labels).double().mean().item()
    assert error == pytest.approx(wrong, rel=1e-12)


def test_an_evaluation_with_the_statistics_of_each_batch_by_hand(tmp_path):
    """In training mode a copy does the same; the running averages are as they were."""
    data = load_dataset(small_config(tmp_path).data, tmp_path)
    network = make_network(small_config(tmp_path).network, (1, 8, 8), 10, 0).double().train()
    normalize = Normalizer(data.train_images, torch.float64)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    found = evaluate_splits(Subject(network, classify, data, normalize), 100, 32)
    assert network.training
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    with torch.no_grad():
        parts = [normalize(data.test_images[i : i + 32]) for i in (0, 32, 64)]
        guesses = torch.cat([copy.deepcopy(network)(part).argmax(1) for part in parts])
    wrong = (guesses != data.test_labels[:96]).double().mean().item()
    assert found["test"].batch_error == pytest.approx(wrong, rel=1e-12)
    loss, error = evaluate(
        network, classify, data.test_images[:100], data.test_labels[:100], normalize
    )
    assert found["test"][:2] == (loss, error)
    small = replace(small_config(tmp_path).network, norm="none")
    bare = make_network(small, (1, 8, 8), 10, 0).double()
    found = evaluate_splits(Subject(bare, classify, data, normalize), 10, 32)
    assert found["test"].batch_error is None


def test_all_images_are_evaluated_at_the_end_if_asked(tmp_path):
    """Its errors are then multiples of one in 128 and 360 images; on the way, of one in 7."""
    config = small_config(tmp_path, steps=8)
    part = EvaluationConfig(every=4, images=7)
    folder = execute(replace(config, evaluation=replace(part, all_at_end=True))).folder
    other = execute(replace(config, evaluation=part)).folder
    whole = execute(replace(config, evaluation=EvaluationConfig(every=4))).folder
    rows, parts, wholes = (
        read_records(f, "evaluations").set_index(["step", "split"]).sort_index()[["loss", "error"]]
        for f in (folder, other, whole)
    )
    pd.testing.assert_frame_equal(rows.loc[:4], parts.loc[:4], check_exact=True)
    pd.testing.assert_frame_equal(rows.loc[8:], wholes.loc[8:], check_exact=True)
    assert not parts.loc[8:].equals(wholes.loc[8:])
    assert read_records(folder, "runs").evaluation_all_at_end.tolist() == [True]
    assert load_run_config(folder / "config.yaml").evaluation.all_at_end


def test_the_id_of_a_run_that_evaluates_as_before_stays(tmp_path):
    """Literal: outputs/reference and all studies of users have ids without the new key."""
    assert "evaluation_all_at_end" not in flatten(small_config(tmp_path))


def test_sgd_step_by_hand():
    """v <- m v + (g + wd w); w <- w - lr v, twice, in NumPy."""
    network = torch.nn.Linear(3, 2).double()
    config = SGDConfig(learning_rate=0.1, momentum=0.9, weight_decay=0.01)
    optimizer = build_optimizer(config, network)
    weight, velocity = network.weight.detach().numpy().copy(), 0
    for scale in (1.0, 2.0):
        gradient = np.full((2, 3), scale)
        network.weight.grad = torch.from_numpy(gradient.copy())
        optimizer.step()
        velocity = 0.9 * velocity + gradient + 0.01 * weight
        weight = weight - 0.1 * velocity
    np.testing.assert_allclose(network.weight.detach().numpy(), weight, rtol=1e-12)


def test_adamw_first_step_by_hand():
    """Bias-corrected, the first step is lr * g / (|g| + eps) beside the decay lr * wd * w."""
    network = torch.nn.Linear(3, 2).double()
    weight = network.weight.detach().numpy().copy()
    optimizer = build_optimizer(AdamWConfig(learning_rate=0.1, weight_decay=0.5), network)
    network.weight.grad = torch.full((2, 3), -3.0, dtype=torch.float64)
    optimizer.step()
    expected = weight * (1 - 0.1 * 0.5) + 0.1 * 3 / (3 + 1e-8)
    np.testing.assert_allclose(network.weight.detach().numpy(), expected, rtol=0, atol=1e-14)


def test_details_are_recorded_where_they_are_asked_for(tmp_path):
    config = small_config(tmp_path, probe=OffConfig(), details=ListedConfig(steps=(2, 5)))
    folder = execute(config).folder
    for table in ("layers", "blocks", "layer_details", "block_details", "network_details"):
        assert sorted(read_records(folder, table).step.unique()) == [2, 5]
    row = read_records(folder, "network_details").iloc[0]
    assert row.path_grad_norm > 0
    assert -1 <= row.example_cosine <= 1
    assert np.isfinite(row.signal_to_noise)


def test_clipping_bounds_the_update_and_both_norms_are_recorded(tmp_path):
    """Plain SGD at one rate: the update of all parameters together is rate * clipped norm."""
    free = read_records(execute(small_config(tmp_path)).folder, "steps")
    assert (free.clipped_grad_norm == free.grad_norm).all()
    limit = float(free.grad_norm.min()) / 2
    folder = execute(small_config(tmp_path, optimizer=SGDConfig(clip_norm=limit))).folder
    clipped = read_records(folder, "steps")
    assert clipped.grad_norm[0] == free.grad_norm[0]  # the norm before
    assert clipped.grad_norm[0] > limit
    expected = clipped.grad_norm.clip(upper=limit)  # a later gradient may be smaller
    np.testing.assert_allclose(clipped.clipped_grad_norm, expected, rtol=1e-4)
    layers = read_records(folder, "layers", where={"step": 0})
    before = read_records(execute(small_config(tmp_path)).folder, "layers", where={"step": 0})
    assert (layers.grad_norm == before.grad_norm).all()  # layers show the gradient before
    ratio = layers.update_norm / before.update_norm
    np.testing.assert_allclose(ratio, limit / free.grad_norm[0], rtol=0.01)


def test_the_share_of_recording_is_accounted(tmp_path, monkeypatch):
    """On a clock that only the work named here moves: what is recording counts, and once."""
    now = 0.0
    spent = {"training": 0.0, "recording": 0.0, "afterwards": 0.0}

    def costs(work, seconds, kind_of):
        def timed(*args, **options):
            nonlocal now
            now += seconds
            spent[kind_of(args, options)] += seconds
            return work(*args, **options)

        return timed

    def of_pass(args, options):  # the losses of single examples are compared, not trained on
        return "recording" if options.get("each") else "training"

    def of_table(args, options):
        kinds = {"evaluations": "training", "attempts": "afterwards", "runs": "afterwards"}
        return kinds.get(args[1], "recording")

    def of_norm(args, options):
        return "recording"

    monkeypatch.setattr(time, "perf_counter", lambda: now)
    monkeypatch.setattr("gradflow.training.loop.task_of", lambda *_: costs(classify, 5.0, of_pass))
    monkeypatch.setattr("gradflow.probes.ledger.square", costs(square, 1.0, of_norm))
    monkeypatch.setattr(RecordWriter, "add", costs(RecordWriter.add, 3.0, of_table))
    folder = execute(small_config(tmp_path)).folder
    share = read_records(folder, "attempts").recording_share.iloc[0]
    during = spent["training"] + spent["recording"]
    assert share == pytest.approx(spent["recording"] / during, rel=1e-12)
    assert 0 < share < 1
