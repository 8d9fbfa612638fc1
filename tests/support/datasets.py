"""Data sets that a user could have: `data.dataset=tests.support.datasets:name`."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

SIDE = 6


def stripes(count: int, seed: int) -> tuple[Any, Any]:
    """Stripes along (class 1) or across (class 0) with noise: uint8 [N, 6, 6], labels."""
    draw = np.random.RandomState(seed)
    labels = np.arange(count) % 2
    lines = np.where(np.arange(SIDE) % 2, 200, 20)
    images = np.where(labels[:, None, None], lines[None, :, None], lines[None, None, :])
    return (images + draw.randint(0, 20, images.shape)).astype(np.uint8), labels


class Stripes(Dataset[Any]):
    """As torchvision's data sets: images as the 8-bit levels of ToTensor."""

    def __init__(self, train: bool, count: int = 40):
        self.images, self.labels = stripes(count if train else 20, seed=int(train))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.from_numpy(self.images[index])[None] / 255, int(self.labels[index])


def by_split(split: str) -> list[tuple[Any, Any]]:
    images, labels = stripes(40 if split == "train" else 20, seed=int(split == "train"))
    return [(Image.fromarray(i), np.int64(label)) for i, label in zip(images, labels, strict=True)]


def whole() -> Iterator[tuple[Any, int]]:
    images, labels = stripes(40, seed=1)
    return zip(images, labels, strict=True)


def colored(train: bool) -> list[tuple[Any, int]]:
    return [(Image.new("RGB", (4, 5), (index, 2, 3)), index % 3) for index in range(9)]


def not_bytes(train: bool) -> list[tuple[Any, int]]:
    return [(np.full((4, 4), 0.123), 0)] * 6


def of_two_sizes() -> list[tuple[Any, int]]:
    return [(np.zeros((4 + (index == 5), 4)), 0) for index in range(6)]


def without_labels() -> list[tuple[Any]]:
    return [(np.zeros((4, 4)),)] * 6


def negative() -> list[tuple[Any, int]]:
    return [(np.zeros((4, 4)), -1)] * 6


def raising(train: bool) -> Any:
    raise OSError("no files\nhere")
