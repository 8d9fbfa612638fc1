"""The data that a run trains on, as tensors."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gradflow.config.data import CLASSES, NUMBERS, TOKENS, DataConfig, Shape, TokenShape
from gradflow.data.arrays import fingerprint, load_arrays, source_of
from gradflow.data.cache import AnyArray


@dataclass(frozen=True)
class Dataset:
    """Images as uint8 [N, C, H, W], labels as int64 [N].

    Vectors are float64 [N, features] and tokens int64 [N, context], each with the next one as its
    label. Labels that are numbers are float64 [N, K], each with mean 0 and variance 1 over the
    training examples.

    `fingerprint` identifies every byte of it and is part of a run's identity.
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    fingerprint: str
    classes: int
    targets: str = CLASSES

    @property
    def image_shape(self) -> Shape:
        """Of an example."""
        shape = self.train_images.shape[1:]
        return TokenShape(*shape) if self.targets == TOKENS else tuple(shape)

    def to(self, device: str) -> "Dataset":
        """The same data on another device."""
        return replace(
            self,
            train_images=self.train_images.to(device),
            train_labels=self.train_labels.to(device),
            test_images=self.test_images.to(device),
            test_labels=self.test_labels.to(device),
        )


def load_dataset(config: DataConfig, cache: Path) -> Dataset:
    """The data set that `config` names, from `cache` or decoded into it.

    `config.subset` keeps that number of training images, the first after a fixed shuffle.

    Raises:
        GradflowError: a missing or empty folder, an unreadable or incomplete file, a
            subset larger than the training split; numbers that are all equal.
    """
    arrays = load_arrays(config, cache)
    source = source_of(config)
    kept = slice(None, config.subset)
    dataset = Dataset(
        train_images=_tensor(arrays["train_images"])[kept],
        train_labels=_tensor(arrays["train_labels"], labels=True)[kept],
        test_images=_tensor(arrays["test_images"]),
        test_labels=_tensor(arrays["test_labels"], labels=True),
        fingerprint=fingerprint(config, cache),
        classes=source.classes,
        targets=source.targets,
    )
    images = dataset.train_images
    if images.dtype == torch.uint8 and torch.equal(images.amin(dim=0), images.amax(dim=0)):
        config.refuse("name", "all training images are equal; needs images that differ")
    if source.targets != NUMBERS:
        return dataset
    scale, mean = torch.std_mean(dataset.train_labels, dim=0, correction=0)
    if not scale.all():
        config.refuse("name", "a target is the same number in all training examples")
    return replace(
        dataset,
        train_labels=(dataset.train_labels - mean) / scale,
        test_labels=(dataset.test_labels - mean) / scale,
    )


def _tensor(array: AnyArray, *, labels: bool = False) -> Tensor:
    """Images stay bytes; tokens and classes are int64, of which uint16 has few operations."""
    whole = array.dtype.kind == "u" and (labels or array.ndim == 2)
    return torch.from_numpy(array.astype(np.int64) if whole else array)
