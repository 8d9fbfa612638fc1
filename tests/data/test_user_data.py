"""A user's own data: a folder of images, an archive, parquet columns, a torch Dataset."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradflow.config.run_id import flatten
from gradflow.core.errors import GradflowError
from gradflow.data.arrays import load_arrays, shapes, source_of
from gradflow.data.sets.folder import FolderConfig
from gradflow.data.sets.npz import NpzConfig
from gradflow.data.sets.parquet import ParquetConfig
from gradflow.data.sets.torch_dataset import TorchConfig
from gradflow.records import read_records
from gradflow.runs.execute import execute
from tests.support.configs import small_config
from tests.support.datasets import stripes
from tests.support.doors import command
from tests.support.parquet_files import ENCODED, PIXELS, write

DATASETS = "tests.support.datasets"


def pairs(images, labels):
    """Each image with its label, in any order."""
    return sorted(
        (image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True)
    )


def images_below(root: Path, splits=("train", "test")) -> Path:
    for split in splits:
        images, labels = stripes(40 if split == "train" else 20, seed=int(split == "train"))
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            path = root / (split if len(splits) > 1 else "") / f"class {label}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    return root


def archive(path: Path, **changes) -> Path:
    arrays = {}
    for split in ("train", "test"):
        images, labels = stripes(40 if split == "train" else 20, seed=int(split == "train"))
        arrays |= {f"{split}_images": images, f"{split}_labels": labels}
    arrays |= changes
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def configs(tmp_path):
    return {
        "folder": FolderConfig(folder=str(images_below(tmp_path / "images"))),
        "npz": NpzConfig(file=str(archive(tmp_path / "a.npz"))),
        "torch": TorchConfig(dataset=f"{DATASETS}:Stripes"),
        "split": TorchConfig(dataset=f"{DATASETS}:by_split"),
    }


@pytest.mark.parametrize("kind", ["folder", "npz", "torch", "split"])
def test_one_data_set_in_four_forms_is_the_same_data(tmp_path, kind):
    config = configs(tmp_path)[kind]
    arrays = load_arrays(config, tmp_path / "cache")
    for split, count in (("train", 40), ("test", 20)):
        images, labels = stripes(count, seed=int(split == "train"))
        found = arrays[f"{split}_images"]
        assert found.shape == (count, 1, 6, 6)
        assert pairs(found, arrays[f"{split}_labels"]) == pairs(images[:, None], labels)
        assert 0.2 < arrays[f"{split}_labels"][: count // 2].mean() < 0.8  # a prefix is mixed
    assert source_of(config).classes == 2


@pytest.mark.parametrize("kind", ["folder", "npz", "torch"])
def test_without_a_test_split_a_fifth_is_drawn_and_is_not_trained_on(tmp_path, kind):
    images, labels = stripes(40, seed=1)
    path = tmp_path / "a.npz"
    np.savez(path, x=images, y=labels)
    config = {
        "folder": FolderConfig(folder=str(images_below(tmp_path / "images", ("train",)))),
        "npz": NpzConfig(file=str(path), images="x", labels="y"),
        "torch": TorchConfig(dataset=f"{DATASETS}:whole"),
    }[kind]
    arrays = load_arrays(config, tmp_path / "cache")
    parts = [pairs(arrays[f"{s}_images"], arrays[f"{s}_labels"]) for s in ("train", "test")]
    assert [len(part) for part in parts] == [32, 8]
    assert sorted(parts[0] + parts[1]) == pairs(images[:, None], labels)


def test_images_of_three_channels_in_either_order(tmp_path):
    arrays = load_arrays(TorchConfig(dataset=f"{DATASETS}:colored"), tmp_path)
    assert arrays["train_images"].shape == (9, 3, 5, 4)
    assert sorted(arrays["train_images"][:, 0, 0, 0]) == list(range(9))
    last = {"train_images": np.ones((40, 5, 4, 3), int), "test_images": np.ones((20, 5, 4, 3), int)}
    config = NpzConfig(file=str(archive(tmp_path / "a.npz", **last)))
    assert shapes(config, tmp_path).image == (3, 5, 4)


def test_parquet_columns_have_any_name(tmp_path):
    for split in ("train", "test"):
        write(tmp_path / f"{split}.parquet", ENCODED, [0, 1, 2, int(split == "test")])
    config = ParquetConfig(folder=str(tmp_path), image="img", label="label", classes=3)
    assert shapes(config, tmp_path / "cache") == (4, 4, (3, 32, 32), 3, "classes")
    other = replace(config, label="target")
    with pytest.raises(GradflowError, match=r"cannot be read .* the columns img and target"):
        shapes(other, tmp_path / "cache")
    assert len(PIXELS)


@pytest.mark.parametrize("kind", ["folder", "npz", "torch"])
def test_runs_train_on_it_and_their_id_is_of_the_data_not_of_their_place(tmp_path, kind):
    config = replace(configs(tmp_path)[kind], batch_size=8)
    run = replace(small_config(tmp_path), data=config, steps=4)
    result = execute(run)
    assert result.status == "finished"
    [row] = read_records(result.folder, "runs").to_dict("records")
    assert (row["data_name"], row["steps_done"]) == (kind, 4)
    assert not {"data_folder", "data_file", "data_dataset", "data_arguments"} & flatten(run).keys()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"train_images": None}, "holds .*; needs train_images, train_labels"),
        ({"test_labels": np.arange(19) % 2}, "test_images and test_labels have 20 and 19 entries"),
        ({"train_labels": np.full(40, np.nan)}, r"train_labels\[0\]: is nan; needs whole numbers"),
        ({"train_labels": -np.arange(40)}, r"train_labels\[1\]: is -1; needs whole numbers"),
        ({"train_labels": np.array(["a"] * 40)}, "train_labels: is of type <U1; needs whole"),
        ({"train_labels": np.zeros(40), "test_labels": np.zeros(20)}, "all labels are 0"),
        ({"train_images": np.full((40, 6, 6), 0.5)}, r"images\[0, 0, 0\]: is 0.5; needs whole"),
        ({"train_images": np.full((40, 6, 6), 256)}, "is 256; needs whole numbers from 0 to 255"),
        ({"train_images": np.zeros((40, 36))}, r"train_images: is \[40, 36\]; needs \[N, H, W\]"),
        ({"train_images": np.zeros((40, 7, 6))}, "training and test images differ in shape"),
        ({"train_images": np.array([None] * 40)}, "train_images: cannot be read"),
    ],
)  # fmt: skip
def test_an_archive_that_does_not_fit_is_one_line(tmp_path, changes, told):
    path = archive(tmp_path / "a.npz", **changes)
    with pytest.raises(GradflowError, match=told) as found:
        load_arrays(NpzConfig(file=str(path)), tmp_path / "cache")
    assert "\n" not in str(found.value)


def test_an_archive_that_is_not_there_or_damaged_is_one_line(tmp_path):
    path = tmp_path / "a.npz"
    for told in ("no such file", "cannot be read"):
        with pytest.raises(GradflowError, match=f"data.file={path}: {told}"):
            load_arrays(NpzConfig(file=str(path)), tmp_path)
        path.write_bytes(b"PK\x03\x04 nothing")


def _resize(root):
    Image.new("L", (5, 6)).save(root / "train" / "class 0" / "0.png")


def _color(root):
    Image.new("RGB", (6, 6)).save(root / "train" / "class 0" / "2.png")


def _palette(root):
    Image.new("P", (6, 6)).save(root / "train" / "class 0" / "0.png")


def _damage(root):
    (root / "train" / "class 1" / "1.png").write_bytes(b"\x89PNG")


def _other_class(root):
    (root / "test" / "class 1").rename(root / "test" / "class 2")


def _empty(root):
    (root / "train" / "class 7").mkdir()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_resize, "is L of 6x6; 0.png is L of 5x6, and images have one size and kind"),
        (_color, "2.png: is RGB of 6x6; 0.png is L of 6x6"),
        (_palette, "0.png: is of mode P; needs 8-bit gray or RGB"),
        (_damage, "class 1/1.png: cannot be read"),
        (_other_class, "test/class 2 is no class of train/"),
        (_empty, "class 7 holds no image"),
    ],
)
def test_a_folder_that_does_not_fit_is_one_line(tmp_path, change, told):
    root = images_below(tmp_path / "images")
    change(root)
    with pytest.raises(GradflowError, match=told) as found:
        load_arrays(FolderConfig(folder=str(root)), tmp_path / "cache")
    assert "\n" not in str(found.value)


def test_a_folder_of_one_class_or_none_is_refused(tmp_path):
    with pytest.raises(GradflowError, match="has 0 folders of images; needs 2 to 256 classes"):
        load_arrays(FolderConfig(folder=str(tmp_path)), tmp_path / "cache")
    with pytest.raises(GradflowError, match="nowhere: no such folder"):
        load_arrays(FolderConfig(folder=str(tmp_path / "nowhere")), tmp_path / "cache")


@pytest.mark.parametrize(
    ("dataset", "told"),
    [
        ("", "data.dataset=: must be module:function"),
        (f"{DATASETS}:nothing", "the module has no function nothing"),
        (f"{DATASETS}:raising", r"cannot be read \(OSError: no files here\)"),
        (f"{DATASETS}:not_bytes", r"images\[0, 0, 0\]: is 0.123; needs whole numbers"),
        (f"{DATASETS}:of_two_sizes", r"image 5: is \[5, 4\], and image 0 \[4, 4\]"),
        (f"{DATASETS}:without_labels", "needs items of an image and a label"),
        (f"{DATASETS}:negative", r"labels\[0\]: is -1; needs whole numbers from 0 to 255"),
    ],
)
def test_a_torch_data_set_that_does_not_fit_is_one_line(tmp_path, dataset, told):
    with pytest.raises(GradflowError, match=told) as found:
        load_arrays(TorchConfig(dataset=dataset), tmp_path)
    assert "\n" not in str(found.value)


def test_an_argument_that_the_data_set_does_not_take_is_one_line(tmp_path):
    config = TorchConfig(dataset=f"{DATASETS}:Stripes", arguments={"size": 3})
    with pytest.raises(GradflowError, match="got an unexpected keyword argument 'size'"):
        load_arrays(config, tmp_path)


def test_data_are_chosen_on_the_command_line(tmp_path):
    words = [f"data.dataset={DATASETS}:Stripes", "data.arguments.count=30", "data.batch_size=8"]
    [config] = command("train", "data=torch", *words, f"output_root={tmp_path}").accepted
    assert config.data.arguments == {"count": 30}
    ended = command("train", "data=npz", "data.file=nowhere.npz", f"output_root={tmp_path}")
    assert (
        ended.refused
        == "error: data.file=nowhere.npz: no such file; it needs an .npz with images and labels"
    )
