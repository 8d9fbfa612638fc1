"""CIFAR-100 (Krizhevsky 2009): parquet files of encoded images, or the original binary version.

    data/cifar100/train*.parquet test*.parquet    columns img, fine_label, coarse_label
    data/cifar100/train.bin test.bin              of cifar-100-binary.tar.gz

The original Python version is pickles. To read a pickle runs whatever code is in it, so it is not
read.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gradflow.config.data import DataConfig
from gradflow.config.registry import register
from gradflow.config.validation import choice, number
from gradflow.core.errors import GradflowError
from gradflow.data.arrays import SPLITS, Source
from gradflow.data.cache import Arrays, Bytes
from gradflow.data.layout import Layout
from gradflow.data.parquet_folder import parquet_source
from gradflow.data.user_files import mixed, name_of, unreadable

CLASSES = {"coarse": 20, "fine": 100}
"""Label -> how many classes it has, in the order of a row of the binary version."""
PIXELS = (3, 32, 32)
ROW = len(CLASSES) + 3 * 32 * 32  # bytes


@dataclass(frozen=True)
class Cifar100Config(DataConfig):
    """CIFAR-100; `label`: its 100 classes, or the 20 groups of five (coarse)."""

    name: str = choice("cifar100")
    batch_size: int = number(128, at_least=2)
    folder: str = "data/cifar100"
    label: str = choice(*reversed(CLASSES))
    augment: bool = True


@register(Cifar100Config)
def cifar100(config: Cifar100Config) -> Source:
    """As `parquet_source`, or of the binary version.

    Raises:
        GradflowError: the folder holds neither; a file of the binary version that is no whole
            number of rows, or has a label out of range.
    """
    root, classes = Path(config.folder), CLASSES[config.label]
    files = {split: root / f"{split}.bin" for split in SPLITS}
    if all(path.is_file() for path in files.values()):
        name = name_of("cifar100", list(files.values()), config.label)
        return Source(name, classes, lambda: _decode(files, config.label))
    if (root / "train").is_file() and not list(root.glob("*.parquet")):
        config.refuse(
            "folder",
            "holds the Python version, pickles, which could run any code; it needs the binary "
            "version (train.bin, test.bin), or parquet files",
        )
    layout = Layout("CIFAR-100", "img", f"{config.label}_label", 32, 32, classes)
    return parquet_source("cifar100", root, layout)


def _decode(files: dict[str, Path], label: str) -> Arrays:
    return mixed({split: _read(path, label) for split, path in files.items()})


def _read(path: Path, label: str) -> tuple[Bytes, Bytes]:
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        unreadable(str(path), error)
    if not len(content) or len(content) % ROW:
        raise GradflowError(f"{path}: has {len(content)} bytes; needs {ROW} per image")
    rows = content.reshape(-1, ROW)
    for column, (name, classes) in enumerate(CLASSES.items()):
        wrong = np.flatnonzero(rows[:, column] >= classes)
        if len(wrong):
            raise GradflowError(
                f"{path}: row {wrong[0]}: {name}_label is {rows[wrong[0], column]}; CIFAR-100 has "
                f"whole numbers from 0 to {classes - 1}"
            )
    labels = rows[:, list(CLASSES).index(label)]
    return rows[:, len(CLASSES) :].reshape(-1, *PIXELS), labels
