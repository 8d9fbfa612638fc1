"""Data sets as uint8 arrays, decoded once and cached; no torch.

A data set is a file of gradflow/data/sets: a config class, and a function config -> Source.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from gradflow.config.data import DataConfig
from gradflow.config.registry import function_of
from gradflow.core.errors import GradflowError

EVALUATION_BATCH = 256  # images

Arrays = dict[str, npt.NDArray[np.uint8]]
"""train_images and test_images [N, C, H, W], train_labels and test_labels [N]."""

SPLITS = ("train", "test")


class Source(NamedTuple):
    """Where a data set comes from.

    name: of the decoded copy; another one if the data may be other data.
    classes: labels are 0 ... classes-1.
    decode: reads both splits, in an order any prefix of which is a fair subset.
    """

    name: str
    classes: int
    decode: Callable[[], Arrays]


def source_of(config: DataConfig) -> Source:
    """The source that the data set's own file names.

    Raises:
        GradflowError: nobody registered one for the config's class, or its files are not there.
    """
    source: Source = function_of(config)(config)
    return source


def load_arrays(config: DataConfig, cache: Path) -> Arrays:
    """All images and labels of both splits, from `cache` or decoded into it.

    Raises:
        GradflowError: a missing or empty folder, an unreadable or incomplete file; arrays of
            another type or shape than `Arrays`, or labels that are no class.
    """
    with np.load(_decoded(source_of(config), cache)) as stored:
        return {name: stored[name] for name in stored.files if name != "fingerprint"}


class Shapes(NamedTuple):
    """How many images each split has, and how large one is: channels, height and width."""

    train: int
    test: int
    image: tuple[int, int, int]
    classes: int


def shapes(config: DataConfig, cache: Path) -> Shapes:
    """Of a whole data set, whatever the config's subset.

    Raises:
        GradflowError: as `load_arrays`.
    """
    source = source_of(config)
    with np.load(_decoded(source, cache)) as stored:
        channels, height, width = stored["test_images"].shape[1:]
        splits = len(stored["train_labels"]), len(stored["test_labels"])
        return Shapes(*splits, (channels, height, width), source.classes)


def split_sizes(config: DataConfig, cache: Path) -> dict[str, int]:
    """How many images each split has that a run with this config sees.

    Raises:
        GradflowError: as `load_arrays`.
    """
    with np.load(_decoded(source_of(config), cache)) as stored:
        sizes = {split: len(stored[f"{split}_labels"]) for split in SPLITS}
    return sizes | {"train": min(sizes["train"], config.subset or sizes["train"])}


def fingerprint(config: DataConfig, cache: Path) -> str:
    """Sixteen hexadecimal digits that identify every byte of the arrays.

    Raises:
        GradflowError: as `load_arrays`; or the training split is smaller than the config's
            subset or batch size.
    """
    with np.load(_decoded(source_of(config), cache)) as stored:
        available = len(stored["train_labels"])
        if (config.subset or 0) > available:
            config.refuse("subset", f"the training split has {available} images")
        if config.batch_size > available:
            config.refuse("batch_size", f"the training split has {available} images")
        return bytes(stored["fingerprint"]).decode()


def _decoded(source: Source, cache: Path) -> Path:
    """The .npz file of a data set, decoded and written by the first process that asks."""
    path = cache / f"{source.name}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                arrays = source.decode()
                _check(source, arrays)
                arrays["fingerprint"] = _fingerprint(arrays)
                partial = path.with_suffix(f".{os.getpid()}.npz")
                np.savez(partial, **arrays)  # type: ignore[arg-type]  # its stub has allow_pickle
                os.replace(partial, path)
    return path


def _check(source: Source, arrays: Arrays) -> None:
    """Raise a GradflowError unless the arrays are what `Arrays` and `Source` say."""
    names = {f"{split}_{part}" for split in SPLITS for part in ("images", "labels")}
    if set(arrays) != names:
        raise GradflowError(
            f"{source.name}: has the arrays {', '.join(sorted(arrays)) or 'none'}; "
            f"needs {', '.join(sorted(names))}"
        )
    for split in SPLITS:
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        if images.dtype != np.uint8 or images.ndim != 4:
            raise GradflowError(
                f"{source.name}: {split}_images is {images.dtype} {list(images.shape)}; "
                "needs uint8 [N, C, H, W]"
            )
        if labels.dtype != np.uint8 or labels.shape != images.shape[:1] or not len(labels):
            raise GradflowError(
                f"{source.name}: {split}_labels is {labels.dtype} {list(labels.shape)} beside "
                f"{len(images)} images; needs uint8, one per image, and at least one"
            )
        if labels.max() >= source.classes:
            raise GradflowError(
                f"{source.name}: {split}_labels holds {labels.max()}; it declares "
                f"{source.classes} classes, so labels are 0 to {source.classes - 1}"
            )
    if arrays["train_images"].shape[1:] != arrays["test_images"].shape[1:]:
        raise GradflowError(f"{source.name}: training and test images differ in shape")


def _fingerprint(arrays: Arrays) -> npt.NDArray[np.uint8]:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name}{arrays[name].shape}".encode() + arrays[name].tobytes())
    return np.frombuffer(digest.hexdigest()[:16].encode(), dtype=np.uint8)
