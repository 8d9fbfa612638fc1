"""A text as data: its characters, its windows, its split, and runs that predict the next token."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from gradflow.config.data import TokenShape
from gradflow.config.run_id import run_id
from gradflow.core.errors import GradflowError
from gradflow.data.arrays import fingerprint, load_arrays, shapes
from gradflow.data.batches import Normalizer, training_batches
from gradflow.data.dataset import load_dataset
from gradflow.data.sets.text import TextConfig
from gradflow.diagnostics.curvature import CurvatureConfig
from gradflow.diagnostics.jacobian import JacobianConfig, diagnose_jacobian
from gradflow.diagnostics.landscape import LandscapeConfig
from gradflow.diagnostics.shattering import ShatteringConfig, diagnose_shattering
from gradflow.networks import Network
from gradflow.networks.families.custom import CustomConfig
from gradflow.records import read_records, read_runs
from gradflow.runs.execute import execute
from gradflow.runs.memory import peak_memory
from gradflow.training.frozen import Frozen
from gradflow.training.optimizers.sgd import SGDConfig
from gradflow.training.schedules.constant import ConstantConfig
from gradflow.training.tasks import next_token
from tests.support.configs import small_config
from tests.support.doors import command

NETWORKS = "tests.support.token_networks"
WRITTEN = "to be, or not to be: that is the question\n" * 30  # 1,260 characters


def text_of(tmp_path, written=WRITTEN, **options):
    path = tmp_path / "my.txt"
    path.write_text(written, encoding="utf-8", newline="")
    return TextConfig(file=str(path), **{"context": 8, "batch_size": 8, **options})


def run_of(tmp_path, builder="causal", **options):
    network = CustomConfig(builder=f"{NETWORKS}:{builder}", depth=5, width=8)
    config = replace(small_config(tmp_path, network=network), data=text_of(tmp_path))
    return replace(config, task="next_token", **options)


def test_windows_are_the_text_and_the_same_one_place_further(tmp_path):
    written = "".join(chr(int(c)) for c in np.random.default_rng(0).integers(20, 900, size=1003))
    arrays = load_arrays(text_of(tmp_path, written), tmp_path / "cache")
    alphabet = sorted(set(written))
    held = 1003 // 10
    for split, part in (("train", written[:-held]), ("test", written[-held:])):
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        expected = [part[i : i + 9] for i in range(0, len(part) - 8, 8)]
        found = [
            "".join(alphabet[token] for token in [*window, following[-1]])
            for window, following in zip(images, labels, strict=True)
        ]
        assert sorted(found) == sorted(expected)
        np.testing.assert_array_equal(images[:, 1:], labels[:, :-1])
        assert found != expected  # in a fixed shuffle: a prefix is a mixed subset
    there = shapes(text_of(tmp_path, written), tmp_path / "cache")
    assert (there.image, there.classes, there.targets) == ((8,), len(alphabet), "tokens")
    assert isinstance(there.image, TokenShape)


def test_line_ends_stay_and_the_mark_of_utf8_goes(tmp_path):
    config = text_of(tmp_path, "\ufeff" + "a\r\nb" * 40)
    assert shapes(config, tmp_path / "cache").classes == 4


def test_without_a_file_it_is_the_help_of_python(tmp_path):
    from pydoc_data.topics import topics

    there = shapes(TextConfig(), tmp_path)
    length = sum(map(len, topics.values())) + len(topics) - 1
    assert there.train == (length - length // 10 - 1) // 64
    assert there.test == (length // 10 - 1) // 64
    assert length > 300_000


@pytest.mark.parametrize(
    ("written", "context", "told"),
    [
        ("", 8, "data.file=.*my.txt: has 0 different characters; needs two or more"),
        ("a" * 500, 8, "has 1 different characters; needs two or more"),
        ("abc", 8, r"data.context=8: the test split, .*, has 0 characters; no context fits"),
        ("ab" * 50, 64, r"data.context=64: .* has 10 characters; <= 9 for it"),
        (b"caf\xe9 " * 100, 8, "data.file=.*my.txt: is no UTF-8: byte 3 cannot be decoded"),
    ],
)
def test_a_text_that_does_not_fit_is_one_line(tmp_path, written, context, told):
    path = tmp_path / "my.txt"
    path.write_bytes(written if isinstance(written, bytes) else written.encode())
    with pytest.raises(GradflowError, match=told) as found:
        load_arrays(TextConfig(file=str(path), context=context), tmp_path / "cache")
    assert "\n" not in str(found.value)


def test_the_longest_context_that_fits_is_the_one_that_is_named(tmp_path):
    there = shapes(text_of(tmp_path, "ab" * 50, context=9, batch_size=2), tmp_path / "cache")
    assert (there.train, there.test) == (9, 1)


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    ended = command(
        "train", "data=text", "data.file=nowhere.txt", f"output_root={tmp_path}",
        "network=custom", f"network.builder={NETWORKS}:causal", "task=next_token",
    )  # fmt: skip
    expected = "error: data.file=nowhere.txt: no such file; it needs a text in UTF-8"
    assert ended.refused == expected


def test_the_text_and_the_context_are_part_of_a_runs_identity(tmp_path):
    config = run_of(tmp_path)
    ids = set()
    # Capitals are the same tokens, and lead to the same numbers.
    for written, context in ((WRITTEN, 8), (WRITTEN.upper(), 8), (WRITTEN[1:], 8), (WRITTEN, 9)):
        data = text_of(tmp_path, written, context=context)
        ids.add(run_id(replace(config, data=data), fingerprint(data, tmp_path / "cache")))
    assert len(ids) == 3
    (tmp_path / "elsewhere").mkdir()
    moved = text_of(tmp_path / "elsewhere")
    assert run_id(replace(config, data=moved), fingerprint(moved, tmp_path / "cache")) in ids


def test_a_bigram_trains_as_numpy_does(tmp_path):
    """Softmax regression by hand: the losses of each step, and loss and error at the end."""
    config = run_of(
        tmp_path, "bigram", dtype="float64", steps=6, schedule=ConstantConfig(),
        optimizer=SGDConfig(learning_rate=0.5, momentum=0.0, weight_decay=0.0),
    )  # fmt: skip
    data = load_dataset(config.data, tmp_path / ".cache")
    batches = training_batches(
        data, Normalizer(data.train_images, torch.float64),
        batch_size=8, augment=False, seed=0, first_step=0, steps=6,
    )  # fmt: skip
    table, losses = np.zeros((data.classes, data.classes)), []

    def logs(now):
        return table[now] - np.log(np.exp(table[now]).sum(axis=1, keepdims=True))

    for batch in batches:
        now, following = batch.images.numpy().ravel(), batch.labels.numpy().ravel()
        found, hit = logs(now), np.eye(data.classes)[following]
        losses.append(-(found * hit).sum() / len(now))
        np.subtract.at(table, now, 0.5 * (np.exp(found) - hit) / len(now))
    result = execute(config)
    recorded = read_records(result.folder, "steps").loss
    np.testing.assert_allclose(recorded, losses, rtol=2**-24)  # recorded as float32
    assert losses[0] == pytest.approx(math.log(data.classes))  # of a table of zeros: no knowledge
    last = read_records(result.folder, "evaluations").query("split == 'test'").iloc[-1]
    now, following = (t.numpy().ravel() for t in (data.test_images, data.test_labels))
    found = logs(now)
    assert last.loss == pytest.approx(-found[np.arange(len(now)), following].mean(), rel=1e-10)
    assert last.error == pytest.approx((found.argmax(axis=1) != following).mean())


def test_twins_train_on_tokens_and_their_weights_are_equal(tmp_path):
    for skip in (True, False):
        config = run_of(tmp_path)
        execute(replace(config, network=replace(config.network, skip=skip)))
    runs = read_runs(tmp_path / "scratch")
    assert set(runs.status) == {"finished"}
    assert (runs.task == "next_token").all()
    assert (runs.data_context == 8).all()
    # Of a token: a multiply-accumulate per weight of a Linear layer; an embedding has none.
    classes = len(set(WRITTEN))
    assert (runs.macs == 8 * (3 * 8 * 8 + 8 * classes)).all()
    blocks = read_records(tmp_path / "scratch" / runs.run_id[0], "blocks")
    assert blocks.input_grad_norm.notna().all()
    examples = read_records(tmp_path / "scratch" / runs.run_id[0], "network_details")
    assert len(examples)
    assert len({tuple(read_records(tmp_path / "scratch" / run, "layers").query("step == 0")
                .weight_norm) for run in runs.run_id}) == 1  # fmt: skip


def test_an_evaluation_takes_512_windows_unless_it_is_told_otherwise(tmp_path):
    config = run_of(tmp_path)
    assert config.evaluation.images == 512
    assert run_of(tmp_path, evaluation=replace(config.evaluation, images=3)).evaluation.images == 3


def test_the_memory_that_is_foreseen_grows_with_the_vocabulary_and_the_batch(tmp_path):
    config = run_of(tmp_path)
    sizes = [
        peak_memory(replace(config, data=replace(config.data, batch_size=size)))
        for size in (8, 80, 800)
    ]
    assert all(a < b for a, b in pairwise(sizes))


@pytest.mark.parametrize(
    ("builder", "told"),
    [
        ("pooled", r"its network puts out \(2, 16\), not \(2, 8, 16\)"),
        ("linear", r"its network takes no tokens \(2, 8\) \(RuntimeError"),
    ],
)
def test_a_network_that_takes_no_tokens_is_one_line(tmp_path, builder, told):
    with pytest.raises(GradflowError, match=told):
        execute(run_of(tmp_path, builder))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["data=text"], "data.name=text: has tokens, and network=cifar_resnet takes images"),
        (
            ["data=text", "network=custom", f"network.builder={NETWORKS}:causal"],
            "data.name=text: its targets are tokens, and task=classify needs classes; "
            "use task=next_token",
        ),
        (
            ["task=next_token"],
            "data.name=digits: its targets are classes, and task=next_token needs tokens; "
            "use task=family",
        ),
        (["task=regression", "network=unet"], "task=regression: network=unet is for denoise alone"),
        (
            [
                "data=text", "network=custom", f"network.builder={NETWORKS}:causal",
                "task=next_token", "data.augment=true",
            ],
            "data.augment=True: is for images, and data=text has tokens",
        ),
    ],
)  # fmt: skip
def test_a_task_that_does_not_fit_the_data_is_one_line(tmp_path, words, told):
    ended = command("train", *words, f"output_root={tmp_path}", "steps=1")
    assert ended.refused == f"error: {told}"
    swept = command("train", "-m", *words, f"output_root={tmp_path}", "steps=1", "seed=0,1")
    assert told in (swept.refused or "")


@pytest.mark.parametrize(
    "diagnostic",
    [LandscapeConfig(images=16, line=3, plane=3), CurvatureConfig(images=16, vectors=2)],
)
def test_diagnostics_of_any_network_work_on_tokens(tmp_path, diagnostic):
    result = execute(run_of(tmp_path, diagnostic=diagnostic, steps=2))
    assert len(read_records(result.folder, diagnostic.name))


@pytest.mark.parametrize("diagnose", [diagnose_jacobian, diagnose_shattering])
def test_what_differentiates_by_the_input_refuses_tokens(diagnose):
    network = Network(nn.Embedding(5, 4), [], nn.Linear(4, 5), checkpointed=False)
    network.blocks.append(nn.Identity())
    tokens = torch.zeros(2, 3, dtype=torch.int64)
    frozen = Frozen(network, next_token, tokens, tokens, 0)
    config = JacobianConfig() if diagnose is diagnose_jacobian else ShatteringConfig(images=2)
    with pytest.raises(GradflowError, match="tokens have no derivative by the input"):
        diagnose(frozen, config)
