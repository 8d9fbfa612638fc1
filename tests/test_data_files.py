"""Parquet files of images: right arrays, or one line that names file, row and value."""

import io
import shutil
import struct
import sys
import zlib
from datetime import date
from decimal import Decimal
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from experiments.download import download
from gradflow.config.run import RunConfig
from gradflow.core.errors import GradflowError
from gradflow.data.arrays import load_arrays
from gradflow.data.parquet import Layout, read_parquet
from gradflow.data.sets.cifar10 import Cifar10Config
from tests.small import REAL_CIFAR10, small_config

LAYOUT = Layout("CIFAR-10", "img", "label", height=32, width=32, classes=10)
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
CHANNELS_FIRST = PIXELS.transpose(0, 3, 1, 2)


def encoded(pixels, form="PNG", **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


ENCODED = [encoded(image) for image in PIXELS]


def write(file, images=None, labels=(0, 1, 2, 9), **options):
    images = [{"bytes": image, "path": "x"} for image in ENCODED] if images is None else images
    pq.write_table(pa.table({"img": images, "label": labels}), file, **options)
    return file


def refusal(file):
    with pytest.raises(GradflowError) as error:
        read_parquet(file, LAYOUT)
    line = str(error.value)
    assert line.startswith(f"{file}: ")
    assert line.isprintable()
    return line.removeprefix(f"{file}: ")


# Labels


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ([None, 3, 3, 3], "row 0: label is null; CIFAR-10 has whole numbers from 0 to 9"),
        ([3, 257, 3, 3], "row 1: label is 257; CIFAR-10"),
        ([3, 3, -1, 3], "row 2: label is -1; CIFAR-10"),
        ([3, 3, 3, 10], "row 3: label is 10; CIFAR-10"),
        ([3, 3, 3.7, 3], "row 2: label is 3.7; CIFAR-10"),
        ([3, 3, 3, float("nan")], "row 3: label is nan; CIFAR-10"),
        ([3, float("inf"), 3, 3], "row 1: label is inf; CIFAR-10"),
        (pa.array([0, 0, 2**64 - 1, 0], pa.uint64()), "row 2: label is 18446744073709551615;"),
        (["cat"] * 4, "row 0: label is 'cat' (string); CIFAR-10"),
        (["x\n" * 99] * 4, "row 0: label is 'x\\nx"),
        ([True] * 4, "row 0: label is True (bool); CIFAR-10"),
        ([[3]] * 4, "row 0: label is [3] (list<element: int64>)"),
        ([Decimal(3)] * 4, "row 0: label is Decimal('3') (decimal128(1, 0))"),
        ([date(2015, 12, 10)] * 4, "row 0: label is datetime.date(2015, 12, 10) (date32[day])"),
    ],
)
def test_labels_that_are_no_class_are_refused(tmp_path, labels, told):
    assert refusal(write(tmp_path / "a.parquet", labels=labels)).startswith(told)


@pytest.mark.parametrize(
    "kind",
    [pa.int8(), pa.uint8(), pa.int64(), pa.uint64(), pa.float16(), pa.float32(), pa.float64()],
    ids=str,
)
def test_whole_numbers_of_any_type_are_labels(tmp_path, kind):
    values = np.array([0, 1, 2, 9]).astype(kind.to_pandas_dtype())
    file = write(tmp_path / "a.parquet", labels=pa.array(values, kind))
    assert read_parquet(file, LAYOUT)[1].tolist() == [0, 1, 2, 9]


def test_dictionaries_are_labels_and_images(tmp_path):
    labels, images = (pa.array(x).dictionary_encode() for x in ([7, 0, 7, 7], ENCODED))
    found = read_parquet(write(tmp_path / "a.parquet", images, labels), LAYOUT)
    np.testing.assert_array_equal(found[0], CHANNELS_FIRST)
    assert found[1].tolist() == [7, 0, 7, 7]


# Images


def fixed(pixels):
    kind = pa.uint8()
    for size in reversed(pixels.shape[1:]):
        kind = pa.list_(kind, size)
    return pa.array(pixels.tolist(), kind)


FORMS = {
    "struct": [{"bytes": image, "path": None} for image in ENCODED],
    "bytes alone in a struct": [{"bytes": image} for image in ENCODED],
    "plain bytes": ENCODED,
    "large binary": pa.array(ENCODED, pa.large_binary()),
    "lossless WebP": [encoded(image, "WEBP", lossless=True) for image in PIXELS],
    "nested lists": PIXELS.tolist(),
    "channels first": CHANNELS_FIRST.tolist(),
    "fixed-size lists": fixed(PIXELS),
    "fixed-size lists, channels first": fixed(CHANNELS_FIRST),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("row_group", [1, 3, 4])
def test_images_of_every_form_are_read(tmp_path, form, row_group):
    file = write(tmp_path / "a.parquet", FORMS[form], row_group_size=row_group)
    images, labels = read_parquet(file, LAYOUT)
    np.testing.assert_array_equal(images, CHANNELS_FIRST)
    assert labels.tolist() == [0, 1, 2, 9]


def png_of_16_bits():
    """RGB with 16 bits per channel, which Pillow reads as mode RGB and cannot write."""

    def chunk(name, data):
        check = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + check

    header = struct.pack(">IIBBBBB", 32, 32, 16, 2, 0, 0, 0)
    pixels = zlib.compress((b"\0" + b"\1\2" * 96) * 32)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def flipped_png():
    """One bit of the compressed pixels: only the checksum tells."""
    image = bytearray(encoded(np.zeros((32, 32, 3), np.uint8), compress_level=0))
    image[image.index(b"IDAT") + 100] ^= 1
    return bytes(image)


def palette():
    buffer = io.BytesIO()
    Image.fromarray(PIXELS[0]).quantize(16).save(buffer, "PNG")
    return buffer.getvalue()


def animation():
    frames = [Image.fromarray(image) for image in PIXELS]
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    return buffer.getvalue()


def uneven():
    images = PIXELS.tolist()
    del images[2][5][7][1]
    return images


def with_pixel(value):
    images = PIXELS.tolist()
    images[2][5][7][1] = value
    return images


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (None, "row 2: img.bytes is null; CIFAR-10 has (32, 32, 3) of 8-bit RGB"),
        (b"", "cannot be read at row 2: img.bytes is b'', no image of PNG, WEBP, JPEG"),
        (b"no", "cannot be read at row 2: img.bytes is b'no', no image of"),
        (bytes(3072), "cannot be read at row 2: img.bytes is b'\\x00"),
        (ENCODED[2][:-30], "cannot be read at row 2: img.bytes is b'\\x89PNG"),
        (flipped_png(), "cannot be read at row 2: img.bytes is b'\\x89PNG"),
        (encoded(PIXELS[2], "GIF"), "cannot be read at row 2: img.bytes is b'GIF8"),
        (png_of_16_bits(), "row 2: img.bytes is PNG of 16 bits per channel; CIFAR-10"),
        (encoded(PIXELS[2].astype(np.uint16)[..., 0]), "row 2: img.bytes is PNG of mode I;16;"),
        (encoded(PIXELS[2][..., 0]), "row 2: img.bytes is PNG of mode L; CIFAR-10"),
        (
            encoded(np.dstack([PIXELS[2], PIXELS[2]])[..., :4]),
            "row 2: img.bytes is PNG of mode RGBA",
        ),
        (palette(), "row 2: img.bytes is PNG of mode P; CIFAR-10"),
        (animation(), "row 2: img.bytes is WEBP of several frames; CIFAR-10"),
        (encoded(PIXELS[2][:8]), "row 2: img.bytes is an image of (8, 32, 3); CIFAR-10 has (32,"),
    ],
)
@pytest.mark.parametrize("row_group", [2, 4])
def test_encoded_images_of_another_kind_are_refused(tmp_path, image, told, row_group):
    images = [{"bytes": one, "path": "x"} for one in (*ENCODED[:2], image, ENCODED[3])]
    assert refusal(write(tmp_path / "a.parquet", images, row_group_size=row_group)).startswith(told)


@pytest.mark.parametrize(
    ("images", "told"),
    [
        ([{"bytes": ENCODED[0]}, None, None, None], "row 1: img is null; CIFAR-10"),
        ([None] * 4, "row 0: img is null; CIFAR-10"),
        ([{"path": "a.png"}] * 4, "row 0: img is {'path': 'a.png'} ("),
        (["a.png"] * 4, "row 0: img is 'a.png' (string"),
        ([1, 2, 3, 4], "row 0: img is 1 ("),
        (PIXELS.reshape(4, -1).tolist(), "row 0: img is a list [3072] (in which order is unknown)"),
        (PIXELS.reshape(4, 3, 1024).tolist(), "row 0: img is a list [3][1024]; CIFAR-10"),
        (PIXELS[:, :8].tolist(), "row 0: img is a list [8][32][3]; CIFAR-10"),
        ([[]] * 4, "row 0: img is a list [0]; CIFAR-10"),
        ([*PIXELS.tolist()[:3], None], "row 3: img is null; CIFAR-10"),
        ([*PIXELS.tolist()[:3], PIXELS[3, :8].tolist()], "row 3: img has lists of 32 and of 8"),
        (uneven(), "row 2: img has lists of 3 and of 2; CIFAR-10"),
        (with_pixel(None), "row 2: img holds null; CIFAR-10 has pixels from 0 to 255"),
        (with_pixel(256), "row 2: img holds 256; CIFAR-10"),
        (with_pixel(-1), "row 2: img holds -1; CIFAR-10"),
        ((PIXELS / 255).tolist(), "row 0: img holds 0."),
    ],
)
def test_columns_that_are_no_images_are_refused(tmp_path, images, told):
    assert refusal(write(tmp_path / "a.parquet", images)).startswith(told)


def test_files_without_rows_or_with_other_columns_are_refused(tmp_path):
    file = tmp_path / "a.parquet"
    reading = "cannot be read as CIFAR-10 parquet with the columns img and label"
    assert refusal(write(file, pa.array([], pa.binary()), [])) == f"{reading} (it has no rows)"
    pq.write_table(pa.table({"image": [b""], "label": [0]}), file)
    assert refusal(file) == f"{reading} (its columns are ['image', 'label'])"
    pq.write_table(pa.table([pa.array([0])] * 3, names=["img", "label", "label"]), file)
    assert refusal(file).startswith(reading)
    file.write_bytes(b"")
    assert refusal(file).startswith(reading)
    file.unlink()
    file.mkdir()
    write(file / "b.parquet")
    assert refusal(file).startswith(reading)


def test_the_names_of_folders_are_no_columns(tmp_path):
    (tmp_path / "label=3").mkdir()
    file = write(tmp_path / "label=3" / "a.parquet")
    assert read_parquet(file, LAYOUT)[1].tolist() == [0, 1, 2, 9]


# Any table, any damage

whole = st.integers(0, 9)
strange = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-2, 12),
    st.floats(),
    st.floats(-1, 11),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.booleans(),
)


def is_class(label):
    return not isinstance(label, bool | str | bytes) and label is not None and label in range(10)


@settings(max_examples=150)
@given(data=st.data())
def test_a_column_of_labels_is_read_rightly_or_refused(tmp_path_factory, data):
    labels = data.draw(st.lists(whole | whole.map(float), min_size=4, max_size=4))
    for row in data.draw(st.sets(st.integers(0, 3), max_size=2)):
        labels[row] = data.draw(strange)
    try:
        column = pa.array(labels)
    except (pa.ArrowException, TypeError, OverflowError):
        return  # no column has such values
    file = write(tmp_path_factory.mktemp("labels") / "a.parquet", labels=column)
    stored = column.to_pylist()
    wrong = [row for row, label in enumerate(stored) if not is_class(label)]
    nulls = [row for row in wrong if stored[row] is None]
    if wrong:
        assert refusal(file).startswith(f"row {(nulls or wrong)[0]}: label is ")
    else:
        images, found = read_parquet(file, LAYOUT)
        np.testing.assert_array_equal(images, CHANNELS_FIRST)
        assert found.tolist() == stored


@settings(max_examples=150)
@given(data=st.data())
def test_a_damaged_file_is_read_rightly_or_refused(tmp_path_factory, data):
    """Anywhere: in the images, the pages, their headers or the footer."""
    form = data.draw(st.sampled_from(["struct", "plain bytes", "fixed-size lists"]))
    file = tmp_path_factory.mktemp("damaged") / "a.parquet"
    content = bytearray(write(file, FORMS[form], write_page_checksum=True).read_bytes())
    size = len(content)
    match data.draw(st.sampled_from(["flips", "end", "zeros", "insertion"])):
        case "flips":
            # Half of them in the last kilobyte, which says how to read all the others.
            place = st.integers(0, size - 1) | st.integers(max(0, size - 1000), size - 1)
            for at in data.draw(st.lists(place, min_size=1, max_size=4)):
                content[at] ^= data.draw(st.integers(1, 255))
        case "end":
            del content[data.draw(st.integers(0, size - 1)) :]
        case "zeros":
            at = data.draw(st.integers(0, size - 1))
            content[at : at + 16] = bytes(len(content[at : at + 16]))
        case "insertion":
            at = data.draw(st.integers(0, size - 1))
            content[at:at] = data.draw(st.binary(min_size=1, max_size=8))
    file.write_bytes(content)
    try:
        images, labels = read_parquet(file, LAYOUT)
    except GradflowError as error:
        line = str(error)
    else:
        np.testing.assert_array_equal(images, CHANNELS_FIRST)
        assert labels.tolist() == [0, 1, 2, 9]
        return
    assert line.startswith(f"{file}: ")
    assert "\n" not in line


# Sets of files


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
    from gradflow.data.sets import cifar10

    rows = cifar10._rows

    def rewrite(images, labels):
        write(folder / "test.parquet", ENCODED, [5, 5, 5, 5])
        return rows(images, labels)

    monkeypatch.setattr(cifar10, "_rows", rewrite)
    assert "changed while they were read" in refused(folder)


# The download


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


def download_to(folder) -> RunConfig:
    from dataclasses import replace

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


@pytest.mark.skipif(not REAL_CIFAR10.is_dir(), reason="no copy of CIFAR-10 beside the checkout")
def test_real_files_are_one_complete_set():
    from gradflow.data.arrays import source_of

    assert source_of(Cifar10Config(folder=str(REAL_CIFAR10))).classes == 10
