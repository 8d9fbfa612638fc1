"""Batches: their order and augmentation depend on (seed, epoch) alone."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from gradflow.core.seeds import seeded
from gradflow.data.dataset import Dataset

PAD = 4  # pixels on each side before the random crop, He et al. 2015, section 4.2


class Batch(NamedTuple):
    """What one step sees."""

    step: int
    epoch: int
    images: Tensor  # [B, C, H, W], normalized, channels_last; vectors [B, features]; tokens [B, T]
    labels: Tensor  # [B], int64; numbers [B, K]; tokens [B, T]


class Normalizer:
    """(pixel - mean of that pixel) / one standard deviation, both over the training images.

    He et al. 2015 remove the per-pixel mean; the one scale brings the input to unit
    variance without changing any ratio between pixels. Of vectors, whose features have units of
    their own, each feature is divided by its own standard deviation. Tokens stay as they are.
    """

    def __init__(self, train_images: Tensor, dtype: torch.dtype):
        self.dtype = dtype
        self.scale: Tensor | float
        if train_images.dtype == torch.int64:
            return
        if train_images.ndim == 2:
            scale, self.mean = torch.std_mean(train_images, dim=0, correction=0)
            self.scale = torch.where(scale > 0, 1 / scale, 1.0)
            return
        # Whole-number sums in float64 are exact, so the order of summation cannot matter.
        count = len(train_images)
        total = torch.zeros(train_images.shape[1:], dtype=torch.float64, device=train_images.device)
        squares = total.clone()
        for start in range(0, count, 4096):
            chunk = train_images[start : start + 4096].double()
            total += chunk.sum(dim=0)
            squares += chunk.square().sum(dim=0)
        mean = total / count
        variance = float((squares / count - mean.square()).mean())
        self.mean = mean.to(dtype)
        self.scale = variance**-0.5

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 [B, C, H, W] -> the normalized images, channels_last; vectors and tokens alike."""
        if images.dtype == torch.int64:
            return images
        if images.ndim == 2:
            return ((images - self.mean) * self.scale).to(self.dtype)
        normalized: Tensor = (images.to(self.mean.dtype) - self.mean) * self.scale
        return normalized.contiguous(memory_format=torch.channels_last)


def training_batches(
    dataset: Dataset,
    normalize: Normalizer,
    *,
    batch_size: int,
    augment: bool,
    seed: int,
    first_step: int,
    steps: int,
) -> Iterator[Batch]:
    """The batches of steps `first_step` ... `steps`-1; an epoch's short last batch is dropped."""
    images, labels = dataset.train_images, dataset.train_labels
    per_epoch = len(labels) // batch_size
    drawn = None
    for step in range(first_step, steps):
        epoch, position = divmod(step, per_epoch)
        if drawn is None or position == 0:
            drawn = _draw_epoch(seed, epoch, len(labels)).to(images.device)
        part = slice(position * batch_size, (position + 1) * batch_size)
        chosen = drawn.order[part]
        batch = normalize(images[chosen])
        if augment:
            batch = shift_and_flip(batch, drawn.shifts[:, part], drawn.flips[part])
        yield Batch(step, epoch, batch, labels[chosen])


class _Epoch(NamedTuple):
    order: Tensor  # [N] a permutation of the images
    shifts: Tensor  # [2, N] rows and columns of the crop, 0 ... 2 PAD
    flips: Tensor  # [N] whether the image is mirrored

    def to(self, device: torch.device) -> "_Epoch":
        """Once per epoch, so that no step waits for the host."""
        return _Epoch(*(part.to(device) for part in self))


def _draw_epoch(seed: int, epoch: int, count: int) -> _Epoch:
    augmentation = seeded(seed, "augmentation", epoch)
    return _Epoch(
        torch.randperm(count, generator=seeded(seed, "order", epoch)),
        torch.randint(2 * PAD + 1, (2, count), generator=augmentation),
        torch.randint(2, (count,), generator=augmentation).bool(),
    )


def evaluation_batches(
    images: Tensor, labels: Tensor, normalize: Normalizer, batch_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Every image once, in order, without augmentation."""
    for start in range(0, len(labels), batch_size):
        part = slice(start, start + batch_size)
        yield normalize(images[part]), labels[part]


def shift_and_flip(images: Tensor, shifts: Tensor, flips: Tensor) -> Tensor:
    """Pad by PAD zeros (the mean image), crop at `shifts` [2, B], mirror those of `flips` [B].

    [B, C, H, W] -> [B, C, H, W], channels_last; one gather for the whole batch.
    """
    count, _, height, width = images.shape
    device = images.device
    across = torch.arange(width, device=device)
    rows = shifts[0, :, None] + torch.arange(height, device=device)
    columns = shifts[1, :, None] + torch.where(flips[:, None], across.flip(0), across)
    padded = F.pad(images, (PAD, PAD, PAD, PAD)).permute(0, 2, 3, 1)  # [B, H, W, C]
    which = torch.arange(count, device=device)[:, None, None]
    cropped = padded[which, rows[:, :, None], columns[:, None, :]]
    return cropped.permute(0, 3, 1, 2)
