"""Small parquet files of images, as of CIFAR-10."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from gradflow.core.errors import GradflowError
from gradflow.data.layout import Layout
from gradflow.data.parquet import read_parquet

LAYOUT = Layout("CIFAR-10", "img", "label", height=32, width=32, classes=10)
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
CHANNELS_FIRST = PIXELS.transpose(0, 3, 1, 2)


def encoded(pixels: npt.NDArray[np.uint8], form: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


ENCODED = [encoded(image) for image in PIXELS]


def write(file: Path, images: Any = None, labels: Any = (0, 1, 2, 9), **options: Any) -> Path:
    images = [{"bytes": image, "path": "x"} for image in ENCODED] if images is None else images
    pq.write_table(pa.table({"img": images, "label": labels}), file, **options)
    return file


def refusal(file: Path) -> str:
    with pytest.raises(GradflowError) as error:
        read_parquet(file, LAYOUT)
    line = str(error.value)
    assert line.startswith(f"{file}: ")
    assert line.isprintable()
    return line.removeprefix(f"{file}: ")


def fixed(pixels: npt.NDArray[np.uint8]) -> pa.Array:
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
