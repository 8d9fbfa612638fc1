"""What data sets of the user's share: facts of files, 8-bit images, a split that is drawn."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from gradflow.core.errors import GradflowError
from gradflow.data.arrays import SPLITS
from gradflow.data.cache import AnyArray, Arrays, Bytes

TEST_SHARE = 5  # one image in five, if there is no test split


def name_of(kind: str, files: Sequence[Path], *options: object) -> str:
    """The name of a decoded copy: another one if a file or an option changes."""
    stats = [(str(file.resolve()), file.stat()) for file in files]
    facts = [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]
    return f"{kind}-{hashlib.sha256(json.dumps([facts, *options]).encode()).hexdigest()[:12]}"


def as_bytes(values: Any, what: str) -> Bytes:
    """Whole numbers from 0 to 255 as uint8.

    Raises:
        GradflowError: another type, or a value out of range; `what` is its name for the message.
    """
    array = np.asarray(values)
    if array.dtype == np.uint8:
        return array
    if not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise GradflowError(f"{what}: is of type {array.dtype}; needs whole numbers from 0 to 255")
    wrong = ~((array >= 0) & (array <= 255) & (array == np.floor(array)))  # NaN is wrong too
    if wrong.any():
        place = [int(index) for index in np.argwhere(wrong)[0]]
        value = array[tuple(place)]
        raise GradflowError(f"{what}{place}: is {value}; needs whole numbers from 0 to 255")
    return array.astype(np.uint8)


def images_of(values: Any, what: str) -> Bytes:
    """Images as [N, C, H, W]; [N, H, W] is one channel, and [N, H, W, C] has 1 or 3.

    Raises:
        GradflowError: as `as_bytes`; another shape.
    """
    images = as_bytes(values, what)
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    if images.ndim != 4:
        shape = list(images.shape)
        raise GradflowError(f"{what}: is {shape}; needs [N, H, W], [N, C, H, W] or [N, H, W, C]")
    return images


def mixed(parts: Mapping[str, tuple[AnyArray, AnyArray]]) -> Arrays:
    """Both splits, each in one fixed shuffle, so that any prefix is a mixed subset.

    Args:
        parts: split -> images and labels; without test, a fifth of train is drawn once and for all.
    """
    arrays: Arrays = {}
    if "test" not in parts:
        images, labels = parts["train"]
        order = np.random.RandomState(0).permutation(len(labels))
        held = len(labels) // TEST_SHARE
        parts = {
            "test": (images[order[:held]], labels[order[:held]]),
            "train": (images[order[held:]], labels[order[held:]]),
        }
    for split in SPLITS:
        images, labels = parts[split]
        order = np.random.RandomState(0).permutation(len(labels))
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images[order], labels[order]
    return arrays


def unreadable(key: str, error: Exception) -> NoReturn:
    """Raise the one line for a file that cannot be read."""
    text = getattr(error, "strerror", None) or " ".join(str(error).split()) or "damaged"
    raise GradflowError(f"{key}: cannot be read ({text})") from error
