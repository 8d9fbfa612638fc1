"""The data that a run trains on, as tensors."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from gradflow.config.data import DataConfig
from gradflow.data.arrays import fingerprint, load_arrays, source_of


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
    classes: int

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        channels, height, width = self.train_images.shape[1:]
        return channels, height, width

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
            subset larger than the training split.
    """
    arrays = load_arrays(config, cache)
    dataset = Dataset(
        train_images=torch.from_numpy(arrays["train_images"]),
        train_labels=torch.from_numpy(arrays["train_labels"]).long(),
        test_images=torch.from_numpy(arrays["test_images"]),
        test_labels=torch.from_numpy(arrays["test_labels"]).long(),
        fingerprint=fingerprint(config, cache),
        classes=source_of(config).classes,
    )
    if config.subset is None:
        return dataset
    return replace(
        dataset,
        train_images=dataset.train_images[: config.subset],
        train_labels=dataset.train_labels[: config.subset],
    )
