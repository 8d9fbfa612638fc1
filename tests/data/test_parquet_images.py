"""Images of parquet files: right, or one line that names file, row and value."""

import io
import struct
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gradflow.data.parquet import read_parquet
from tests.support.parquet_files import (
    CHANNELS_FIRST,
    ENCODED,
    FORMS,
    LAYOUT,
    PIXELS,
    encoded,
    refusal,
    write,
)


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
