"""Handwritten digits and CIFAR-10 as uint8 arrays, decoded once and cached; no torch.

Both come with a test split that no run trains on: CIFAR-10's own; for the digits, which
have none, 360 images drawn once and for all (a fifth of 1,797).
"""

import hashlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from gradflow.config.schema import Cifar10Config, DataConfig
from gradflow.core.errors import GradflowError

DIGITS_TEST_IMAGES = 360
CLASSES = 10
EVALUATION_BATCH = 256  # images

Arrays = dict[str, npt.NDArray[np.uint8]]


def load_arrays(config: DataConfig, cache: Path) -> Arrays:
    """All images [N, C, H, W] and labels [N] of both splits, from `cache` or decoded into it.

    Raises:
        GradflowError: a missing or empty folder, an unreadable or incomplete file.
    """
    with np.load(_decoded(config, cache)) as stored:
        return {name: stored[name] for name in stored.files if name != "fingerprint"}


class Shapes(NamedTuple):
    """How many images each split has, and how large one is: channels, height and width."""

    train: int
    test: int
    image: tuple[int, int, int]
    classes: int = CLASSES


def shapes(config: DataConfig, cache: Path) -> Shapes:
    """Of a whole data set, whatever the config's subset.

    Raises:
        GradflowError: as `load_arrays`.
    """
    with np.load(_decoded(config, cache)) as stored:
        channels, height, width = stored["test_images"].shape[1:]
        splits = len(stored["train_labels"]), len(stored["test_labels"])
        return Shapes(*splits, (channels, height, width))


def fingerprint(config: DataConfig, cache: Path) -> str:
    """Sixteen hexadecimal digits that identify every byte of the arrays.

    Raises:
        GradflowError: as `load_arrays`; or the training split is smaller than the config's
            subset or batch size.
    """
    with np.load(_decoded(config, cache)) as stored:
        available = len(stored["train_labels"])
        if (config.subset or 0) > available:
            config.refuse("subset", f"the training split has {available} images")
        if config.batch_size > available:
            config.refuse("batch_size", f"the training split has {available} images")
        return bytes(stored["fingerprint"]).decode()


def _decoded(config: DataConfig, cache: Path) -> Path:
    """The .npz file of a data set, decoded and written by the first process that asks."""
    if not isinstance(config, Cifar10Config):
        return _cached(cache / "digits.npz", _read_digits)
    files = _parquet_files(Path(config.folder))
    facts = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    source = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
    return _cached(cache / f"cifar10-{source}.npz", lambda: _decode_cifar10(files))


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


def _cached(path: Path, decode: Callable[[], Arrays]) -> Path:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                arrays = decode()
                arrays["fingerprint"] = _fingerprint(arrays)
                partial = path.with_suffix(f".{os.getpid()}.npz")
                np.savez(partial, **arrays)  # type: ignore[arg-type]
                os.replace(partial, path)
    return path


def _fingerprint(arrays: Arrays) -> npt.NDArray[np.uint8]:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name}{arrays[name].shape}".encode() + arrays[name].tobytes())
    return np.frombuffer(digest.hexdigest()[:16].encode(), dtype=np.uint8)
