"""Data sets, splits, batch order and augmentation."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from gradflow.core.errors import GradflowError
from gradflow.data.batches import Normalizer, evaluation_batches, shift_and_flip, training_batches
from gradflow.data.dataset import Dataset, load_dataset
from gradflow.data.sets.cifar10 import Cifar10Config
from gradflow.data.sets.digits import DigitsConfig
from tests.support.configs import REAL_CIFAR10


def rows(images):
    return {image.tobytes() for image in images.numpy()}


def test_digits_are_split_once_and_for_all(cache):
    digits = load_dataset(DigitsConfig(), cache)
    assert digits.train_images.shape == (1437, 1, 8, 8)
    assert digits.test_images.shape == (360, 1, 8, 8)
    assert digits.train_images.dtype == torch.uint8
    # Together they are scikit-learn's images, each once.
    both = torch.cat([digits.train_images, digits.test_images]).reshape(-1, 64).numpy()
    original = load_digits().data.astype(np.uint8)
    assert sorted(map(bytes, both)) == sorted(map(bytes, original))
    # Every class is in the test split about as often as in the whole.
    assert torch.bincount(digits.test_labels).min() >= 25


def test_fingerprint_and_cache_are_stable(cache, tmp_path):
    first = load_dataset(DigitsConfig(), cache)
    again, fresh = load_dataset(DigitsConfig(), cache), load_dataset(DigitsConfig(), tmp_path)
    assert first.fingerprint == again.fingerprint == fresh.fingerprint
    assert torch.equal(first.train_images, fresh.train_images)


def test_subset_is_a_prefix(cache):
    whole = load_dataset(DigitsConfig(), cache)
    part = load_dataset(DigitsConfig(subset=100), cache)
    assert torch.equal(part.train_images, whole.train_images[:100])
    assert torch.equal(part.test_images, whole.test_images)


def test_a_subset_larger_than_the_split_is_refused(cache):
    with pytest.raises(GradflowError, match="data.subset=5000: the training split has 1437"):
        load_dataset(DigitsConfig(subset=5000), cache)


def numbered(count, channels=1, size=2):
    images = torch.arange(count * channels * size * size).reshape(count, channels, size, size)
    return Dataset(
        (images % 256).byte(), torch.arange(count), images[:3].byte(), torch.arange(3), "x", 10
    )


def batches(dataset, seed, first_step=0, steps=12, batch_size=4, augment=False):
    normalize = Normalizer(dataset.train_images, torch.float64)
    return list(
        training_batches(
            dataset,
            normalize,
            batch_size=batch_size,
            augment=augment,
            seed=seed,
            first_step=first_step,
            steps=steps,
        )
    )


@settings(deadline=None, max_examples=30)
@given(count=st.integers(4, 30), batch_size=st.integers(2, 4), seed=st.integers(0, 2**32))
def test_an_epoch_shows_each_image_at_most_once(count, batch_size, seed):
    per_epoch = count // batch_size
    seen = batches(numbered(count), seed, steps=3 * per_epoch, batch_size=batch_size)
    for epoch in range(3):
        labels = torch.cat([b.labels for b in seen if b.epoch == epoch])
        assert len(labels) == per_epoch * batch_size == len(labels.unique())


def test_order_is_a_function_of_seed_and_epoch():
    data = numbered(14)
    one = batches(data, seed=1, augment=True)
    again = batches(data, seed=1, augment=True)
    other = batches(data, seed=2, augment=True)
    assert all(torch.equal(a.images, b.images) for a, b in zip(one, again, strict=True))
    assert any(not torch.equal(a.labels, b.labels) for a, b in zip(one, other, strict=True))
    epochs = [torch.cat([b.labels for b in one if b.epoch == e]) for e in (0, 1)]
    assert not torch.equal(*epochs)


@pytest.mark.parametrize("first_step", [1, 3, 5, 7])
def test_starting_late_shows_the_same_batches(first_step):
    """What an interrupted run sees after its restart."""
    data = numbered(14)
    late = batches(data, seed=3, first_step=first_step, augment=True)
    for whole, part in zip(batches(data, seed=3, augment=True)[first_step:], late, strict=True):
        assert whole.step == part.step
        assert torch.equal(whole.images, part.images)


def test_torchs_global_seed_plays_no_part():
    torch.manual_seed(0)
    one = batches(numbered(14), seed=1, augment=True)
    torch.manual_seed(99)
    two = batches(numbered(14), seed=1, augment=True)
    assert all(torch.equal(a.images, b.images) for a, b in zip(one, two, strict=True))


def test_shift_and_flip_against_numpy():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(20, 3, 7, 5, generator=generator)
    shifts = torch.randint(9, (2, 20), generator=generator)
    flips = torch.randint(2, (20,), generator=generator).bool()
    found = shift_and_flip(images, shifts, flips).numpy()
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (4, 4), (4, 4)))
    for i in range(20):
        top, left = shifts[:, i].tolist()
        crop = padded[i, :, top : top + 7, left : left + 5]
        np.testing.assert_array_equal(found[i], crop[:, :, ::-1] if flips[i] else crop)


def test_normalizer_against_numpy(cache):
    images = load_dataset(DigitsConfig(), cache).train_images
    raw = images.numpy().astype(np.float64)
    centred = raw - raw.mean(axis=0)
    expected = centred / np.sqrt((centred**2).mean())
    found = Normalizer(images, torch.float64)(images)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)


def test_evaluation_shows_every_image_once_in_order(cache):
    digits = load_dataset(DigitsConfig(), cache)
    normalize = Normalizer(digits.train_images, torch.float32)
    parts = list(evaluation_batches(digits.test_images, digits.test_labels, normalize, 100))
    assert [len(labels) for _, labels in parts] == [100, 100, 100, 60]
    assert torch.equal(torch.cat([labels for _, labels in parts]), digits.test_labels)


def write_cifar(folder, name, images, labels):
    encoded = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        encoded.append({"bytes": buffer.getvalue(), "path": "x.png"})
    pq.write_table(pa.table({"img": encoded, "label": labels}), folder / f"{name}.parquet")


@pytest.fixture
def small_cifar(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "cifar"
    folder.mkdir()
    images = {}
    for name, count in (("train-0", 5), ("train-1", 4), ("test", 3)):
        images[name] = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        write_cifar(folder, name, images[name], list(range(count)))
    return folder, images


def test_cifar10_parquet_is_decoded_losslessly(small_cifar, tmp_path):
    folder, images = small_cifar
    data = load_dataset(Cifar10Config(folder=str(folder), batch_size=2), tmp_path / "cache")
    expected = np.concatenate([images["train-0"], images["train-1"]]).transpose(0, 3, 1, 2)
    assert rows(data.train_images) == {image.tobytes() for image in np.ascontiguousarray(expected)}
    assert data.train_images.shape == (9, 3, 32, 32)
    assert sorted(data.train_labels.tolist()) == sorted([*range(5), *range(4)])


def test_images_and_labels_stay_together(small_cifar, tmp_path):
    folder, images = small_cifar
    data = load_dataset(Cifar10Config(folder=str(folder), batch_size=2), tmp_path / "cache")
    pairs = {
        image.tobytes(): int(label)
        for image, label in zip(data.test_images.numpy(), data.test_labels, strict=True)
    }
    for label, image in enumerate(images["test"]):
        assert pairs[np.ascontiguousarray(image.transpose(2, 0, 1)).tobytes()] == label


def test_changed_files_are_decoded_again(small_cifar, tmp_path):
    folder, images = small_cifar
    config = Cifar10Config(folder=str(folder), batch_size=2)
    before = load_dataset(config, tmp_path / "cache")
    write_cifar(folder, "test", 255 - images["test"], [1, 2, 3])
    assert load_dataset(config, tmp_path / "cache").fingerprint != before.fingerprint


def refused(folder, tmp_path):
    with pytest.raises(GradflowError) as error:
        load_dataset(Cifar10Config(folder=str(folder), batch_size=2), tmp_path / "cache")
    cache = tmp_path / "cache"
    assert not list(cache.glob("*.npz"))  # nothing half-written
    assert "\n" not in str(error.value)
    return str(error.value)


def test_missing_folder(tmp_path):
    assert "nowhere: no such folder; it needs train*.parquet" in refused(
        tmp_path / "nowhere", tmp_path
    )


def test_empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty: no train*.parquet in it" in refused(tmp_path / "empty", tmp_path)


def test_folder_without_a_test_split(small_cifar, tmp_path):
    folder, _ = small_cifar
    (folder / "test.parquet").unlink()
    assert "no test*.parquet" in refused(folder, tmp_path)


def test_corrupt_parquet(small_cifar, tmp_path):
    folder, _ = small_cifar
    (folder / "train-1.parquet").write_bytes(b"PAR1 and then nothing of sense PAR1")
    assert "train-1.parquet: cannot be read as CIFAR-10 parquet" in refused(folder, tmp_path)


def test_truncated_parquet(small_cifar, tmp_path):
    folder, _ = small_cifar
    path = folder / "train-0.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    assert "train-0.parquet: cannot be read" in refused(folder, tmp_path)


def test_parquet_of_other_columns(small_cifar, tmp_path):
    folder, _ = small_cifar
    pq.write_table(pa.table({"image": [1], "label": [0]}), folder / "test.parquet")
    assert "columns img and label" in refused(folder, tmp_path)


def test_images_that_are_no_images(small_cifar, tmp_path):
    folder, _ = small_cifar
    pq.write_table(
        pa.table({"img": [{"bytes": b"no", "path": ""}], "label": [0]}), folder / "test.parquet"
    )
    assert "test.parquet: cannot be read" in refused(folder, tmp_path)


def test_images_of_another_size(small_cifar, tmp_path):
    folder, _ = small_cifar
    write_cifar(folder, "test", np.zeros((2, 8, 8, 3), np.uint8), [0, 1])
    assert "CIFAR-10 has (32, 32, 3)" in refused(folder, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not REAL_CIFAR10.is_dir(), reason="no copy of CIFAR-10 beside the checkout")
def test_real_cifar10(tmp_path):
    """Means and deviations of the training pixels as published for the data set."""
    data = load_dataset(Cifar10Config(folder=str(REAL_CIFAR10)), tmp_path)
    assert data.train_images.shape == (50_000, 3, 32, 32)
    assert data.test_images.shape == (10_000, 3, 32, 32)
    assert torch.bincount(data.train_labels).tolist() == [5000] * 10
    pixels = data.train_images.numpy().transpose(1, 0, 2, 3).reshape(3, -1) / 255
    np.testing.assert_allclose(pixels.mean(axis=1), (0.49139968, 0.48215841, 0.44653091), rtol=1e-6)
    np.testing.assert_allclose(pixels.std(axis=1), (0.24703223, 0.24348513, 0.26158784), rtol=1e-6)
