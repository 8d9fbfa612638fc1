"""Handwritten digits and CIFAR-10, decoded once to uint8 and cached.

Both come with a test split that no run trains on: CIFAR-10's own; for the digits, which
have none, 360 images drawn once and for all (a fifth of 1,797).
"""

import hashlib
import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock
from torch import Tensor

from gradflow.config.schema import Cifar10Config, DataConfig
from gradflow.errors import GradflowError

DIGITS_TEST_IMAGES = 360
CLASSES = 10

Arrays = dict[str, npt.NDArray[np.uint8]]


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
    if isinstance(config, Cifar10Config):
        files = _parquet_files(Path(config.folder))
        facts = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
        source = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
        arrays = _cached(cache / f"cifar10-{source}.npz", lambda: _decode_cifar10(files))
    else:
        arrays = _cached(cache / "digits.npz", _read_digits)
    dataset = Dataset(
        train_images=torch.from_numpy(arrays["train_images"]),
        train_labels=torch.from_numpy(arrays["train_labels"]).long(),
        test_images=torch.from_numpy(arrays["test_images"]),
        test_labels=torch.from_numpy(arrays["test_labels"]).long(),
        fingerprint=bytes(arrays["fingerprint"]).decode(),
    )
    available = len(dataset.train_labels)
    if config.subset is not None:
        if config.subset > available:
            config.refuse("subset", f"the training split has {available} images")
        dataset = replace(
            dataset,
            train_images=dataset.train_images[: config.subset],
            train_labels=dataset.train_labels[: config.subset],
        )
    if len(dataset.train_labels) < config.batch_size:
        config.refuse("batch_size", f"the training split has {available} images")
    return dataset


def _read_digits() -> Arrays:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    # NumPy guarantees RandomState's stream for ever, so the split is the same everywhere.
    order = np.random.RandomState(0).permutation(len(labels))
    images = images.reshape(-1, 1, 8, 8).astype(np.uint8)[order]  # grey levels 0 ... 16
    labels = labels.astype(np.uint8)[order]
    test, train = slice(None, DIGITS_TEST_IMAGES), slice(DIGITS_TEST_IMAGES, None)
    return {
        "train_images": images[train],
        "train_labels": labels[train],
        "test_images": images[test],
        "test_labels": labels[test],
    }


def _parquet_files(folder: Path) -> list[Path]:
    need = "needs train*.parquet and test*.parquet with the columns img and label; see README.md"
    if not folder.is_dir():
        raise GradflowError(f"data.folder={folder}: no such folder; it {need}")
    files = sorted(folder.glob("train*.parquet")) + sorted(folder.glob("test*.parquet"))
    for split in ("train", "test"):
        if not any(f.name.startswith(split) for f in files):
            raise GradflowError(f"data.folder={folder}: no {split}*.parquet in it; it {need}")
    return files


def _decode_cifar10(files: list[Path]) -> Arrays:
    splits: dict[str, list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]]] = {}
    for file in files:
        split = "train" if file.name.startswith("train") else "test"
        splits.setdefault(split, []).append(_decode_file(file))
    arrays: Arrays = {}
    # Files may be sorted by class; one fixed shuffle makes any prefix a mixed subset.
    for split, parts in splits.items():
        images = np.concatenate([images for images, _ in parts])
        labels = np.concatenate([labels for _, labels in parts])
        order = np.random.RandomState(0).permutation(len(labels))
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images[order], labels[order]
    return arrays


def _decode_file(file: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Images [N, 3, 32, 32] and labels [N] of one parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image, UnidentifiedImageError

    try:
        table = pq.read_table(file, columns=["img", "label"])
        encoded = table["img"].combine_chunks().field("bytes").to_pylist()
        labels = table["label"].to_numpy().astype(np.uint8)
        images = np.stack(
            [np.asarray(Image.open(io.BytesIO(image)).convert("RGB")) for image in encoded]
        )
    except (pa.ArrowException, UnidentifiedImageError, OSError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise GradflowError(
            f"{file}: cannot be read as CIFAR-10 parquet with the columns img and label ({reason})"
        ) from error
    if images.shape[1:] != (32, 32, 3) or labels.max() >= CLASSES:
        raise GradflowError(
            f"{file}: holds images of {images.shape[1:]} and labels up to {labels.max()}; "
            f"CIFAR-10 has (32, 32, 3) and labels 0 to {CLASSES - 1}"
        )
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)), labels


def _cached(path: Path, decode: Callable[[], Arrays]) -> Arrays:
    """The arrays of an .npz file, decoded and written by the first process that asks."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                arrays = decode()
                arrays["fingerprint"] = _fingerprint(arrays)
                partial = path.with_suffix(f".{os.getpid()}.npz")
                np.savez(partial, **arrays)  # type: ignore[arg-type]
                os.replace(partial, path)
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}


def _fingerprint(arrays: Arrays) -> npt.NDArray[np.uint8]:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name}{arrays[name].shape}".encode() + arrays[name].tobytes())
    return np.frombuffer(digest.hexdigest()[:16].encode(), dtype=np.uint8)
