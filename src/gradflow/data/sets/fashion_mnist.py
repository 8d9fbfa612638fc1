"""Fashion-MNIST (Xiao et al. 2017): the original idx files, or parquet files of encoded images.

    data/fashion_mnist/train-images-idx3-ubyte.gz train-labels-idx1-ubyte.gz
                       t10k-images-idx3-ubyte.gz t10k-labels-idx1-ubyte.gz
    data/fashion_mnist/train*.parquet test*.parquet    columns image, label

The idx files may be unpacked. MNIST has the same format, so that its folder is read too.
"""

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradflow.config.data import DataConfig
from gradflow.config.registry import register
from gradflow.config.validation import choice
from gradflow.core.errors import GradflowError
from gradflow.data.arrays import Source
from gradflow.data.cache import Arrays, Bytes
from gradflow.data.layout import Layout
from gradflow.data.parquet_folder import parquet_source
from gradflow.data.user_files import mixed, name_of, unreadable

LAYOUT = Layout("Fashion-MNIST", "image", "label", height=28, width=28, classes=10, channels=1)
PREFIXES = {"train": "train", "test": "t10k"}
PARTS = ("images-idx3-ubyte", "labels-idx1-ubyte")


@dataclass(frozen=True)
class FashionMnistConfig(DataConfig):
    """Fashion-MNIST: 60,000 training and 10,000 test images of 1x28x28."""

    name: str = choice("fashion_mnist")
    folder: str = "data/fashion_mnist"


@register(FashionMnistConfig)
def fashion_mnist(config: FashionMnistConfig) -> Source:
    """The idx files, or as `parquet_source`.

    Raises:
        GradflowError: the folder lacks a file; when it is decoded, a file is no idx file of bytes,
            is cut off, or holds other than images of 28x28 and labels from 0 to 9.
    """
    root = Path(config.folder)
    if not root.is_dir() or list(root.glob("*.parquet")):
        return parquet_source("fashion_mnist", root, LAYOUT)
    files = {split: tuple(_found(config, root, prefix)) for split, prefix in PREFIXES.items()}
    name = name_of("fashion_mnist", [path for paths in files.values() for path in paths])
    return Source(name, LAYOUT.classes, lambda: _decode(files))


def _found(config: FashionMnistConfig, root: Path, prefix: str) -> list[Path]:
    found = []
    for part in PARTS:
        paths = [root / f"{prefix}-{part}{end}" for end in (".gz", "")]
        there = [path for path in paths if path.is_file()]
        if not there:
            config.refuse("folder", f"holds no {paths[0].name}, nor parquet files; see README.md")
        found.append(there[0])
    return found


def _decode(files: dict[str, tuple[Path, ...]]) -> Arrays:
    parts = {}
    for split, (of_images, of_labels) in files.items():
        images, labels = _read_idx(of_images, 3), _read_idx(of_labels, 1)
        if images.shape[1:] != (LAYOUT.height, LAYOUT.width):
            raise GradflowError(f"{of_images}: is of images {list(images.shape[1:])}; needs 28x28")
        if len(images) != len(labels):
            raise GradflowError(f"{of_labels}: has {len(labels)} labels of {len(images)} images")
        wrong = np.flatnonzero(labels >= LAYOUT.classes)
        if len(wrong):
            value = f"row {wrong[0]}: label is {labels[wrong[0]]}"
            raise GradflowError(f"{of_labels}: {value}; needs whole numbers from 0 to 9")
        parts[split] = images[:, None], labels
    return mixed(parts)


def _read_idx(path: Path, dims: int) -> Bytes:
    """Bytes in `dims` dimensions: two zeros, the type 8, `dims`, each size as big-endian int32."""
    try:
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        unreadable(str(path), error)
    begin = 4 + 4 * dims
    if content[:4] != bytes([0, 0, 8, dims]) or len(content) < begin:
        raise GradflowError(f"{path}: is no idx file of bytes in {dims} dimensions")
    shape = [int(size) for size in np.frombuffer(content, ">i4", dims, 4)]
    array = np.frombuffer(content, np.uint8, offset=begin)
    if min(shape) < 1 or array.size != np.prod(shape):
        raise GradflowError(f"{path}: has {array.size} bytes behind a header of {shape}")
    return array.reshape(shape)
