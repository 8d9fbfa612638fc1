"""Data sets as arrays, decoded once and cached; no torch.

A data set is a file of gradflow/data/sets: a config class, and a function config -> Source.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gradflow.config.data import CLASSES, NUMBERS, TOKENS, DataConfig, Shape, TokenShape
from gradflow.config.registry import function_of
from gradflow.core.errors import GradflowError
from gradflow.data.cache import AnyArray, Arrays, arrays_of, note_of

EVALUATION_BATCH = 256  # images

SPLITS = ("train", "test")


class Source(NamedTuple):
    """Where a data set comes from.

    name: of the decoded copy; another one if the data may be other data.
    classes: how many outputs a network has for it: labels are 0 ... classes-1; of tokens it is the
        size of the vocabulary, of numbers how many each example has.
    decode: reads both splits, in an order any prefix of which is a fair subset.
    targets: classes, numbers or tokens.
    """

    name: str
    classes: int
    decode: Callable[[], Arrays]
    targets: str = CLASSES


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
            another type or shape than `Arrays`, or labels that are no class; the cache cannot
            be written.
    """
    source = source_of(config)
    return arrays_of(source.name, lambda: _decoded(source), cache)


class Shapes(NamedTuple):
    """How many examples each split has, the shape of one, and as `Source`."""

    train: int
    test: int
    image: Shape
    classes: int
    targets: str


def shapes(config: DataConfig, cache: Path) -> Shapes:
    """Of a whole data set, whatever the config's subset.

    Raises:
        GradflowError: as `load_arrays`.
    """
    source = source_of(config)
    found = note_of(source.name, lambda: _decoded(source), cache).shapes
    train, (test, *shape) = found["train_labels"][0], found["test_images"]
    image = TokenShape(*shape) if source.targets == TOKENS else tuple(shape)
    return Shapes(train, test, image, source.classes, source.targets)


def split_sizes(config: DataConfig, cache: Path) -> dict[str, int]:
    """How many images each split has that a run with this config sees.

    Raises:
        GradflowError: as `load_arrays`.
    """
    source = source_of(config)
    found = note_of(source.name, lambda: _decoded(source), cache).shapes
    sizes = {split: found[f"{split}_labels"][0] for split in SPLITS}
    return sizes | {"train": min(sizes["train"], config.subset or sizes["train"])}


def fingerprint(config: DataConfig, cache: Path) -> str:
    """Sixteen hexadecimal digits that identify every byte of the arrays.

    Raises:
        GradflowError: as `load_arrays`; or the training split is smaller than the config's
            subset or batch size.
    """
    source = source_of(config)
    note = note_of(source.name, lambda: _decoded(source), cache)
    available = note.shapes["train_labels"][0]
    if (config.subset or 0) > available:
        config.refuse("subset", f"the training split has {available} images")
    if config.batch_size > available:
        config.refuse("batch_size", f"the training split has {available} images")
    return note.fingerprint


def _decoded(source: Source) -> Arrays:
    arrays = source.decode()
    _check(source, arrays)
    return arrays


def _check(source: Source, arrays: Arrays) -> None:
    """Raise a GradflowError unless the arrays are what `Arrays` and `Source` say."""
    if source.targets not in (CLASSES, NUMBERS, TOKENS):
        valid = f"choose one of {CLASSES}, {NUMBERS}, {TOKENS}"
        raise GradflowError(f"{source.name}: targets={source.targets}: {valid}")
    names = {f"{split}_{part}" for split in SPLITS for part in ("images", "labels")}
    if set(arrays) != names:
        raise GradflowError(
            f"{source.name}: has the arrays {', '.join(sorted(arrays)) or 'none'}; "
            f"needs {', '.join(sorted(names))}"
        )
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise GradflowError(f"{source.name}: {name} is {type(array).__name__}, no NumPy array")
    for split in SPLITS:
        _check_split(source, split, arrays[f"{split}_images"], arrays[f"{split}_labels"])
    if arrays["train_images"].shape[1:] != arrays["test_images"].shape[1:]:
        raise GradflowError(f"{source.name}: training and test images differ in shape")


def _check_split(source: Source, split: str, images: AnyArray, labels: AnyArray) -> None:
    tokens, numbers = source.targets == TOKENS, source.targets == NUMBERS
    if tokens:
        need, fits = "whole numbers [N, context]", images.dtype.kind == "u" and images.ndim == 2
    else:
        need = "uint8 [N, C, H, W], or float64 [N, features]"
        fits = images.ndim == {np.dtype("u1"): 4, np.dtype("f8"): 2}.get(images.dtype)
    if not fits:
        raise GradflowError(
            f"{source.name}: {split}_images is {images.dtype} {list(images.shape)}; needs {need}"
        )
    shape: tuple[int, ...]
    if tokens:
        kind, shape, need = "u", images.shape, "whole numbers, one per token"
    elif numbers:
        kind, shape, need = "f", (len(images), source.classes), f"float64 [N, {source.classes}]"
    else:
        kind, shape, need = "u", images.shape[:1], "uint8, one per image"
    wide = not (tokens or numbers) and labels.dtype != np.uint8
    if labels.dtype.kind != kind or wide or labels.shape != shape or not len(labels):
        raise GradflowError(
            f"{source.name}: {split}_labels is {labels.dtype} {list(labels.shape)} beside "
            f"{len(images)} images; needs {need}, and at least one"
        )
    for name, array in (("images", images), ("labels", labels)):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise GradflowError(f"{source.name}: {split}_{name} holds NaN or Inf")
    if not numbers and labels.max() >= source.classes:
        raise GradflowError(
            f"{source.name}: {split}_labels holds {labels.max()}; it declares "
            f"{source.classes} classes, so labels are 0 to {source.classes - 1}"
        )
    if tokens and images.max() >= source.classes:
        raise GradflowError(
            f"{source.name}: {split}_images holds {images.max()}; its vocabulary has "
            f"{source.classes} tokens, 0 to {source.classes - 1}"
        )
