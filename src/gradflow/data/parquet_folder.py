"""Data sets of parquet files, train*.parquet and test*.parquet in one folder, each row checked."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from gradflow.core.errors import GradflowError
from gradflow.data.arrays import SPLITS, Source
from gradflow.data.cache import Arrays, Bytes
from gradflow.data.layout import Layout

SHARD = re.compile(r"(?P<set>.*)-(?P<index>\d+)-of-(?P<count>\d+)\.parquet")
"""How the Hugging Face hub names the files of one split."""

Files = dict[str, list[Path]]
"""Those of each split."""


def parquet_source(name: str, folder: Path, layout: Layout) -> Source:
    """The files of the folder; the decoded copy is made again when one of them changes.

    Args:
        name: the data set's, as the decoded copy is called.

    Raises:
        GradflowError: no such folder; no file of a split in it, two sets of them, or an
            incomplete one. When it is decoded: a file or a row that is not as `read_parquet`
            needs it, the same rows in two files, files that changed meanwhile.
    """
    try:
        files = _parquet_files(folder, layout)
        facts = _facts(files)
    except OSError as error:
        reason = error.strerror or error
        raise GradflowError(f"data.folder={folder}: cannot be read ({reason})") from error
    # Other columns or sizes are other data, of the same files.
    known = [*facts, *layout[1:]] if name != "cifar10" else facts
    source = hashlib.sha256(json.dumps(known).encode()).hexdigest()[:12]
    return Source(f"{name}-{source}", layout.classes, lambda: _decode(files, facts, layout))


def _parquet_files(folder: Path, layout: Layout) -> Files:
    need = (
        f"needs train*.parquet and test*.parquet with the columns {layout.image} and "
        f"{layout.label}; see docs/how-to/data.md"
    )
    if not folder.is_dir():
        raise GradflowError(f"data.folder={folder}: no such folder; it {need}")
    files = {split: sorted(folder.glob(f"{split}*.parquet")) for split in SPLITS}
    for split, found in files.items():
        if not found:
            raise GradflowError(f"data.folder={folder}: no {split}*.parquet in it; it {need}")
        for file in found:
            if not file.is_file():
                raise GradflowError(f"{file}: is no file; data.folder {need}")
        _check_names(folder, found)
    return files


def _check_names(folder: Path, files: list[Path]) -> None:
    """Names such as train-00000-of-00005.parquet say which files belong together."""
    sets: dict[str, set[int]] = {}
    for file in files:
        shard = SHARD.fullmatch(file.name)
        name = f"{shard['set']}-*-of-{shard['count']}.parquet" if shard else "*.parquet"
        sets.setdefault(name, set()).add(int(shard["index"]) if shard else 0)
    if len(sets) > 1:
        raise GradflowError(
            f"data.folder={folder}: holds {len(sets)} sets of files of one split, "
            f"{' and '.join(sorted(sets))} ({files[0].name}, ...); keep one of them"
        )
    [(name, present)] = sets.items()
    if shard := SHARD.fullmatch(files[0].name):
        count = int(shard["count"])
        if (beyond := max(present)) >= count:
            raise GradflowError(f"data.folder={folder}: {name} has a file number {beyond}")
        if len(present) < count:
            absent = next(index for index in range(count) if index not in present)
            raise GradflowError(
                f"data.folder={folder}: {name} has {len(present)} of its {count} files; "
                f"number {absent} is missing"
            )


def _facts(files: Files) -> list[Any]:
    """By which a change of the files is noticed."""
    stats = [(file, file.stat()) for split in SPLITS for file in files[split]]
    return [(str(file.resolve()), stat.st_size, stat.st_mtime_ns) for file, stat in stats]


def _decode(files: Files, facts: list[Any], layout: Layout) -> Arrays:
    from gradflow.data.parquet import read_parquet

    arrays: Arrays = {}
    rows: dict[Path, set[int]] = {}
    # Files may be sorted by class; one fixed shuffle makes any prefix a mixed subset.
    for split, paths in files.items():
        parts = [read_parquet(path, layout) for path in paths]
        rows |= {path: _rows(*part) for path, part in zip(paths, parts, strict=True)}
        for path in paths:
            _refuse_copy(path, rows)
        images = np.concatenate([images for images, _ in parts])
        labels = np.concatenate([labels for _, labels in parts])
        order = np.random.RandomState(0).permutation(len(labels))
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = images[order], labels[order]
    if _facts(files) != facts:
        raise GradflowError(f"{paths[0].parent}: its files changed while they were read; try again")
    return arrays


def _rows(images: Bytes, labels: Bytes) -> set[int]:
    """A hash of each image with its label."""
    pairs = zip(images, labels, strict=True)
    return {hash(image.tobytes() + label.tobytes()) for image, label in pairs}


def _refuse_copy(file: Path, rows: dict[Path, set[int]]) -> None:
    """Raise a GradflowError if other files hold each of its rows too."""
    others = {path: rows[path] & rows[file] for path in rows if path != file}
    if rows[file] == set().union(*others.values()):
        copy = next(path for path, shared in others.items() if shared)
        raise GradflowError(
            f"{file}: all of its images, with the same labels, are in other files too, such as "
            f"{copy.name}; keep one set of files of each split, with different images"
        )
