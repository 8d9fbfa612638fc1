"""Which files make a split, and the download that writes them."""

import shutil
import sys
from dataclasses import replace
from types import ModuleType

import pytest

from gradflow.cli.download import download
from gradflow.core.errors import GradflowError
from gradflow.data import parquet_folder
from gradflow.data.arrays import load_arrays, source_of
from gradflow.data.sets.cifar10 import Cifar10Config
from tests.support.configs import REAL_CIFAR10, small_config
from tests.support.parquet_files import ENCODED, PIXELS, encoded, write


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "cifar"
    folder.mkdir()
    for index in range(2):
        rows = slice(2 * index, 2 * index + 2)
        write(folder / f"train-0000{index}-of-00002.parquet", ENCODED[rows], [0, 1])
    write(folder / "test.parquet", ENCODED, [9, 8, 7, 6])
    return folder


def loaded(folder):
    config = Cifar10Config(folder=str(folder), batch_size=2)
    return load_arrays(config, folder.parent / "cache")


def refused(folder):
    with pytest.raises(GradflowError) as error:
        loaded(folder)
    assert not list((folder.parent / "cache").glob("*.npz"))
    return str(error.value)


def test_one_set_of_files_of_each_split_is_read(folder):
    assert [len(loaded(folder)[f"{split}_labels"]) for split in ("train", "test")] == [4, 4]


@pytest.mark.parametrize("name", ["train.parquet", "train-00000-of-00001.parquet"])
def test_two_sets_of_files_of_one_split_are_refused(folder, name):
    write(folder / name, ENCODED, [0, 1, 0, 1])
    line = refused(folder)
    assert "holds 2 sets of files of one split" in line
    assert "train-*-of-00002.parquet" in line


def test_an_incomplete_set_is_refused(folder):
    (folder / "train-00000-of-00002.parquet").unlink()
    assert "has 1 of its 2 files; number 0 is missing" in refused(folder)
    shutil.copy(folder / "test.parquet", folder / "train-00002-of-00002.parquet")
    assert "has a file number 2" in refused(folder)


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_a_copy_under_another_name_is_refused(folder, form):
    """By its pixels and labels, in whatever order and encoding."""
    for index in range(2):
        (folder / f"train-0000{index}-of-00002.parquet").rename(folder / f"train-{index}.parquet")
    again = [encoded(PIXELS[row], form, lossless=True) for row in (3, 0, 1, 2)]
    write(folder / "training.parquet", again, [1, 0, 1, 0])
    assert "train-0.parquet: all of its images, with the same labels, are in other" in refused(
        folder
    )


def test_a_test_split_that_is_trained_on_is_refused(folder):
    write(folder / "test.parquet", ENCODED[1:3], [1, 0])
    assert "test.parquet: all of its images" in refused(folder)


def test_links_to_nothing_and_folders_are_no_files(folder):
    (folder / "test.parquet").unlink()
    (folder / "test.parquet").symlink_to(folder / "nowhere")
    assert "test.parquet: is no file" in refused(folder)
    (folder / "test.parquet").unlink()
    (folder / "test.parquet").mkdir()
    assert "test.parquet: is no file" in refused(folder)


def test_files_that_change_while_they_are_read_are_refused(folder, monkeypatch):
    rows = parquet_folder._rows

    def rewrite(images, labels):
        write(folder / "test.parquet", ENCODED, [5, 5, 5, 5])
        return rows(images, labels)

    monkeypatch.setattr(parquet_folder, "_rows", rewrite)
    assert "changed while they were read" in refused(folder)


@pytest.mark.skipif(not REAL_CIFAR10.is_dir(), reason="no copy of CIFAR-10 beside the checkout")
def test_real_files_are_one_complete_set():
    assert source_of(Cifar10Config(folder=str(REAL_CIFAR10))).classes == 10


class Hub:
    """What `datasets` would fetch."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels

    def cast_column(self, name, kind):
        return self

    def to_parquet(self, path, **options):
        write(path, self.images, self.labels, **options)


@pytest.fixture
def hub(monkeypatch):
    splits = {"train": Hub(ENCODED, [0, 1, 2, 3]), "test": Hub(ENCODED[::-1], [9, 8, 7, 6])}
    module = ModuleType("datasets")
    module.Image = lambda decode: None
    module.load_dataset = lambda repository, split: splits[split]
    monkeypatch.setitem(sys.modules, "datasets", module)
    return splits


def download_to(folder):
    config = small_config(folder.parent)
    download(replace(config, data=Cifar10Config(folder=str(folder))))


def test_a_download_is_what_is_read(hub, tmp_path):
    for _ in range(2):  # the second takes the place of the first
        download_to(tmp_path / "new")
        assert {file.name for file in (tmp_path / "new").iterdir()} == {
            "train.parquet",
            "test.parquet",
        }
    assert sorted(loaded(tmp_path / "new")["train_labels"].tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize("fault", ["no network", "another data set", "no space"])
def test_a_failed_download_leaves_nothing(hub, tmp_path, monkeypatch, fault):
    def fail(*arguments, **options):
        raise ConnectionError("no route to host\nsecond line")

    told = {"no network": "cannot be downloaded (ConnectionError: no route to host)"}
    if fault == "another data set":
        hub["test"].labels = [11, 0, 0, 0]
        told[fault] = "row 0: label is 11"
    else:
        told.setdefault(fault, "cannot be downloaded")
        monkeypatch.setattr(Hub, "to_parquet", fail)
    with pytest.raises(GradflowError) as error:
        download_to(tmp_path / "new")
    assert told[fault] in str(error.value)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "new").iterdir())


def test_a_download_into_a_folder_with_other_files_is_refused(hub, folder):
    before = set(folder.iterdir())
    with pytest.raises(GradflowError, match=r"holds train-0000.-of-00002.parquet already"):
        download_to(folder)
    assert set(folder.iterdir()) == before
    (folder.parent / "file").write_text("")
    with pytest.raises(GradflowError, match="cannot be written"):
        download_to(folder.parent / "file")
