"""A NumPy archive: data=npz data.file=flowers.npz.

It holds train_images, train_labels, test_images and test_labels; or images and labels, of which a
fifth is drawn as test split. Other names: data.images=x data.labels=y. Images are whole numbers
from 0 to 255, [N, H, W], [N, C, H, W] or [N, H, W, C]; labels are 0, 1, 2, ...
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradflow.config.data import DataConfig
from gradflow.config.registry import register
from gradflow.config.validation import choice
from gradflow.core.errors import GradflowError
from gradflow.data.arrays import SPLITS, Source
from gradflow.data.cache import Arrays
from gradflow.data.user_files import as_bytes, images_of, mixed, name_of, unreadable


@dataclass(frozen=True)
class NpzConfig(DataConfig):
    """A NumPy archive of images and labels."""

    name: str = choice("npz")
    file: str = "data/images.npz"
    images: str = "images"
    labels: str = "labels"


@register(NpzConfig)
def npz(config: NpzConfig) -> Source:
    """The arrays of a file; the decoded copy is made again when it changes.

    Raises:
        GradflowError: no such file, or it lacks an array; an array of another type, shape or range.
    """
    path = Path(config.file)
    if not path.is_file():
        config.refuse("file", "no such file; it needs an .npz with images and labels")
    names = _names(config, path)
    labels = {split: as_bytes(*_array(path, own)) for split, (_, own) in names.items()}
    if not all(values.ndim == 1 and len(values) for values in labels.values()):
        config.refuse("labels", "needs one label per image, and at least one")
    classes = 1 + max(int(values.max()) for values in labels.values())
    if classes < 2:
        config.refuse("labels", "all labels are 0; needs two classes or more")
    name = name_of("npz", [path], config.images, config.labels)
    return Source(name, classes, lambda: _decode(path, names))


def _names(config: NpzConfig, path: Path) -> dict[str, tuple[str, str]]:
    """Split -> the names of its arrays."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as opened:
            there = list(opened.files)
    except Exception as error:  # damaged bytes lead zipfile and NumPy to exceptions of many types
        unreadable(f"data.file={path}", error)
    whole = {"train": (config.images, config.labels)}
    split = {s: (f"{s}_{config.images}", f"{s}_{config.labels}") for s in SPLITS}
    chosen = next(
        (n for n in (split, whole) if all(name in there for pair in n.values() for name in pair)),
        None,
    )
    if chosen is None:
        needed = ", ".join(name for pair in split.values() for name in pair)
        config.refuse(
            "file",
            f"holds {', '.join(there) or 'nothing'}; needs {needed}, or {config.images} and "
            f"{config.labels}",
        )
    return chosen


def _array(path: Path, name: str) -> tuple[Any, str]:
    """An array, and what a message calls it."""
    what = f"data.file={path}: {name}"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as opened:
            return opened[name], what
    except Exception as error:
        unreadable(what, error)


def _decode(path: Path, names: dict[str, tuple[str, str]]) -> Arrays:
    parts = {}
    for split, (images, labels) in names.items():
        parts[split] = images_of(*_array(path, images)), as_bytes(*_array(path, labels))
        if len(parts[split][0]) != len(parts[split][1]):
            counts = " and ".join(str(len(part)) for part in parts[split])
            raise GradflowError(f"data.file={path}: {images} and {labels} have {counts} entries")
    return mixed(parts)
