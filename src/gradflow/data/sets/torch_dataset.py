"""Any torch Dataset of images and labels: data=torch data.dataset=module:function.

The function (or class) is called once for each split: with train=True and False if it takes
`train`, with split="train" and "test" if it takes `split`, and with data.arguments. Otherwise a
fifth is drawn as test split. Its items begin with an image and a label: a PIL image, or an array or
tensor of whole numbers from 0 to 255, or of the 8-bit levels k / 255 that torchvision's ToTensor
makes.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from gradflow.config.builders import builder_of, full_builder
from gradflow.config.data import DataConfig
from gradflow.config.registry import register
from gradflow.config.validation import Options, choice
from gradflow.core.errors import GradflowError, shown
from gradflow.data.arrays import Source
from gradflow.data.cache import Arrays, Bytes, fingerprint_of
from gradflow.data.user_files import as_bytes, images_of, mixed

SPLIT_ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "train": {"train": True, "test": False},
    "split": {"train": "train", "test": "test"},
}
"""The parameter that chooses a split -> split -> its value."""


@dataclass(frozen=True)
class TorchConfig(DataConfig):
    """A torch Dataset, by the function that makes it."""

    name: str = choice("torch")
    dataset: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dataset:
            object.__setattr__(self, "dataset", full_builder(self.dataset))


@register(TorchConfig)
def torch_dataset(config: TorchConfig) -> Source:
    """The items of a data set, read once per process.

    Raises:
        GradflowError: there is no such function, or it raises; an item is no image with a label, or
            of another shape than the first.
    """
    arrays = _read(config.dataset, Options(config.arguments))
    classes = 1 + int(max(arrays["train_labels"].max(), arrays["test_labels"].max()))
    return Source(f"torch-{fingerprint_of(arrays)}", max(2, classes), lambda: arrays)


@lru_cache(maxsize=4)
def _read(dataset: str, arguments: Options) -> Arrays:
    key = f"data.dataset={shown(dataset, 300)}"
    builder = builder_of(dataset, "data.dataset")
    chosen = next((name for name in SPLIT_ARGUMENTS if name in builder.parameters), None)
    parts = {}
    for split in ("train", "test") if chosen else ("train",):
        more = {chosen: SPLIT_ARGUMENTS[chosen][split]} if chosen else {}
        try:
            inspect.signature(builder.function).bind(**arguments, **more)
            items = [tuple(item)[:2] for item in _all(builder.function(**arguments, **more))]
        except GradflowError:
            raise
        except Exception as error:  # of whoever wrote it
            why = f"{type(error).__name__}: {shown(' '.join(str(error).split()), 200)}"
            raise GradflowError(f"{key}: cannot be read ({why})") from error
        if len(items) < 5 or any(len(item) < 2 for item in items):
            raise GradflowError(f"{key}: needs items of an image and a label, and at least five")
        parts[split] = _images(items, f"{key}: {split}"), _labels(items, f"{key}: {split}")
    return mixed(parts)


def _all(data: Any) -> Any:
    """Its items: a Dataset has a length, and need not stop by itself."""
    return (data[index] for index in range(len(data))) if hasattr(data, "__len__") else data


def _images(items: list[tuple[Any, ...]], what: str) -> Bytes:
    images = [np.asarray(image) for image, *_ in items]
    for index, image in enumerate(images):
        if image.shape != images[0].shape or image.ndim not in (2, 3):
            shapes = f"{list(image.shape)}, and image 0 {list(images[0].shape)}"
            raise GradflowError(f"{what} image {index}: is {shapes}; needs [H, W] or [C, H, W]")
    stacked = np.stack(images)
    if np.issubdtype(stacked.dtype, np.floating):
        levels = np.round(stacked * 255)
        if stacked.max() <= 1 and np.abs(stacked * 255 - levels).max() < 1e-3:
            stacked = levels
    return images_of(stacked, f"{what} images")


def _labels(items: list[tuple[Any, ...]], what: str) -> Bytes:
    try:
        labels = np.array([np.asarray(label).item() for _, label, *_ in items])
    except ValueError as error:
        raise GradflowError(f"{what}: a label is no single number") from error
    return as_bytes(labels, f"{what} labels")
