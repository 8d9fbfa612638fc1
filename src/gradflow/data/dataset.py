"""The data that a run trains on, as tensors."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from gradflow.config.schema import DataConfig
from gradflow.data.arrays import CLASSES, fingerprint, load_arrays


@dataclass(frozen=True)
class Dataset:
    """Images as uint8 [N, C, H, W], labels as int64 [N].

    `fingerprint` identifies every byte of it and is part of a run's identity.
    """

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    fingerprint: str
    classes: int = CLASSES

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width

    def to(self, device: str) -> "Dataset":
        """The same data on another device."""
        tensors = ("train_images", "train_labels", "test_images", "test_labels")
        return replace(self, **{name: getattr(self, name).to(device) for name in tensors})


def load_dataset(config: DataConfig, cache: Path) -> Dataset:
    """The data set that `config` names, from `cache` or decoded into it.

    `config.subset` keeps the first so many training images, after a fixed shuffle.

    Raises:
        GradflowError: a missing or empty folder, an unreadable or incomplete file, a
            subset larger than the training split.
    """
    arrays = load_arrays(config, cache)
    dataset = Dataset(
        train_images=torch.from_numpy(arrays["train_images"]),
        train_labels=torch.from_numpy(arrays["train_labels"]).long(),
        test_images=torch.from_numpy(arrays["test_images"]),
        test_labels=torch.from_numpy(arrays["test_labels"]).long(),
        fingerprint=fingerprint(config, cache),
    )
    if config.subset is None:
        return dataset
    return replace(
        dataset,
        train_images=dataset.train_images[: config.subset],
        train_labels=dataset.train_labels[: config.subset],
    )
