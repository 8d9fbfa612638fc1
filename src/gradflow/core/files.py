"""Files that appear whole or not at all, and damaged ones that are moved aside."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

DAMAGED = ".damaged"
"""Suffix of a file that was not what had been written, kept for whoever wants to look at it."""


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of `path` when the block ends without an error.

    It is on disk before it has its name. Until then it is `.<name>.<random>.tmp` beside `path`;
    an error deletes it, and a process that is killed leaves it.

    Raises:
        OSError: the disk is full, or the folder cannot be written to; `path` is as before.
    """
    partial = path.with_name(f".{path.name}.{uuid4().hex[:8]}.tmp")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def atomic_write(path: Path, content: str | bytes) -> None:
    """Replace a file's content in one step, as `atomic_file`; text is written as UTF-8.

    Raises:
        OSError: as `atomic_file`.
    """
    with atomic_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def move_aside(path: Path, folder: Path) -> Path:
    """Move a damaged file, or what stands in its place, out of the way within its run.

    Its new path is <folder>/<its path below the folder>.damaged, with - for each slash; of two,
    the later.

    Raises:
        OSError: the folder cannot be written to.
    """
    aside = folder / ("-".join(path.relative_to(folder).parts) + DAMAGED)
    if aside.is_dir():
        shutil.rmtree(aside)
    if path.is_dir() and aside.exists():
        aside.unlink()
    return path.replace(aside)
