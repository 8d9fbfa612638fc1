"""CIFAR-10 (Krizhevsky 2009), from parquet files of encoded images; its own test split."""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gradflow.config.data import DataConfig
from gradflow.config.registry import register
from gradflow.config.validation import choice, number
from gradflow.core.errors import GradflowError
from gradflow.data.arrays import SPLITS, Arrays, Source

CLASSES = 10


@dataclass(frozen=True)
class Cifar10Config(DataConfig):
    """CIFAR-10 from a folder of parquet files with the columns `img` and `label`."""

    name: str = choice("cifar10")
    batch_size: int = number(128, at_least=2)
    folder: str = "data/cifar10"
    augment: bool = True


@register(Cifar10Config)
def cifar10(config: Cifar10Config) -> Source:
    """The files of the folder; the decoded copy is made again when one of them changes.

    Raises:
        GradflowError: no such folder, or no file of a split in it; when it is decoded, an
            unreadable file or one of other images.
    """
    files = _parquet_files(Path(config.folder))
    stats = [(file, file.stat()) for split in SPLITS for file in files[split]]
    facts = [(str(file.resolve()), stat.st_size, stat.st_mtime_ns) for file, stat in stats]
    source = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12]
    return Source(f"cifar10-{source}", classes=CLASSES, decode=lambda: _decode(files))


def _parquet_files(folder: Path) -> dict[str, list[Path]]:
    """The files of each split."""
    need = "needs train*.parquet and test*.parquet with the columns img and label; see README.md"
    if not folder.is_dir():
        raise GradflowError(f"data.folder={folder}: no such folder; it {need}")
    files = {split: sorted(folder.glob(f"{split}*.parquet")) for split in SPLITS}
    for split, found in files.items():
        if not found:
            raise GradflowError(f"data.folder={folder}: no {split}*.parquet in it; it {need}")
    return files


def _decode(files: dict[str, list[Path]]) -> Arrays:
    arrays: Arrays = {}
    # Files may be sorted by class; one fixed shuffle makes any prefix a mixed subset.
    for split, paths in files.items():
        parts = [_decode_file(path) for path in paths]
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
