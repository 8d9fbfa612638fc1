"""A data set of one's own with numbers or tokens as targets: what fits, and what does not."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

import gradflow
from gradflow.config.data import DataConfig
from gradflow.config.validation import choice
from gradflow.core.errors import GradflowError
from gradflow.data.arrays import Source, load_arrays
from gradflow.data.dataset import load_dataset
from gradflow.networks.families.cifar_resnet import CifarResNetConfig
from gradflow.records import read_records
from gradflow.runs.execute import execute
from gradflow.training.optimizers.sgd import SGDConfig
from tests.support.configs import small_config
from tests.support.plugins import forgotten

IMAGES = np.random.default_rng(0).integers(256, size=(40, 1, 8, 8), dtype=np.uint8)
BRIGHT = IMAGES.mean(axis=(1, 2, 3))
NUMBERS = np.stack([BRIGHT, 5 - 3 * BRIGHT], axis=1)
TOKENS = np.arange(80, dtype=np.uint16).reshape(40, 2) % 7


@dataclass(frozen=True)
class ToyConfig(DataConfig):
    name: str = choice("toy_targets")


@pytest.fixture
def toy():
    """Registers a source of these arrays, the same in both splits."""
    with forgotten():

        def register(images, labels, targets, classes=2):
            arrays = {f"{split}_images": images for split in ("train", "test")}
            arrays |= {f"{split}_labels": labels for split in ("train", "test")}
            made = Source("toy_targets", classes, lambda: arrays, targets)
            gradflow.register(ToyConfig)(lambda config: made)
            return ToyConfig(batch_size=8)

        yield register


def test_images_with_numbers_train_a_convolutional_network(tmp_path, toy):
    config = replace(
        small_config(
            tmp_path,
            network=CifarResNetConfig(depth=8, width=4),
            steps=30,
            optimizer=SGDConfig(learning_rate=0.02),
        ),
        data=toy(IMAGES, NUMBERS, "numbers"),
        task="regression",
    )
    result = execute(config)
    assert result.status == "finished"
    steps = read_records(result.folder, "steps")
    assert steps.loss.iloc[-5:].mean() < steps.loss.iloc[:5].mean()
    np.testing.assert_allclose(steps.loss, steps.error, rtol=1e-6)


def test_numbers_have_the_mean_and_deviation_of_the_subset_that_is_trained_on(tmp_path, toy):
    data = load_dataset(replace(toy(IMAGES, NUMBERS, "numbers"), subset=16), tmp_path)
    kept = NUMBERS[:16]
    expected = (NUMBERS - kept.mean(axis=0)) / kept.std(axis=0)
    np.testing.assert_allclose(data.train_labels, expected[:16], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(data.test_labels, expected, rtol=1e-9, atol=1e-12)


def test_a_number_that_never_changes_is_one_line(tmp_path, toy):
    config = toy(IMAGES, NUMBERS * [1, 0], "numbers")
    told = "data.name=toy_targets: a target is the same number in all training examples"
    with pytest.raises(GradflowError, match=told):
        load_dataset(config, tmp_path)


@pytest.mark.parametrize(
    ("images", "labels", "targets", "told"),
    [
        (IMAGES, NUMBERS[:, :1], "numbers", r"labels is float64 \[40, 1\] .* float64 \[N, 2\]"),
        (IMAGES, NUMBERS[:39], "numbers", r"labels is float64 \[39, 2\] beside 40 images"),
        (IMAGES, NUMBERS * np.nan, "numbers", "train_labels holds NaN or Inf"),
        (IMAGES, NUMBERS, "classes", "labels is float64 .* needs uint8, one per image"),
        (NUMBERS * np.inf, NUMBERS, "numbers", "train_images holds NaN or Inf"),
        (IMAGES[:, 0], NUMBERS, "numbers", r"needs uint8 \[N, C, H, W\], or float64"),
        (TOKENS, TOKENS, "tokens", "train_labels holds 6; it declares 2 classes"),
        (TOKENS, TOKENS % 2, "tokens", "train_images holds 6; its vocabulary has 2 tokens"),
        (TOKENS, TOKENS[:, :1], "tokens", "needs whole numbers, one per token"),
        (NUMBERS, TOKENS, "tokens", r"needs whole numbers \[N, context\]"),
        (IMAGES, TOKENS, "targets", "targets=targets: choose one of classes, numbers, tokens"),
    ],
)
def test_arrays_that_are_not_what_was_declared_are_one_line(
    tmp_path, toy, images, labels, targets, told
):
    config = toy(images, labels, targets)
    with pytest.raises(GradflowError, match=f"toy_targets: .*{told}") as found:
        load_arrays(config, tmp_path)
    assert "\n" not in str(found.value)
