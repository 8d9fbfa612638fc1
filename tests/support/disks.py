"""A disk that is full, or only read, from its n-th change on: each change of a file is counted.

Permissions and quotas do not bind root, so Python's own audit events stand in for the disk: what
opens a file for writing, makes a folder, renames or deletes, and writes and fsyncs of
`gradflow.core.files`, the one place that writes files.
"""

import builtins
import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from gradflow.core import files

FULL, READ_ONLY = errno.ENOSPC, errno.EROFS
CHANGES = {"os.mkdir": 0, "os.rename": 1, "os.remove": 0, "os.rmdir": 0}
"""Audit event -> which of its arguments is the path that is made or taken away."""
FREEING = ("os.remove", "os.rmdir")  # which a full disk allows


class Disk:
    """What is below `root`; it fails with `error` from change number `at` on.

    Attributes:
        seen: the changes so far.
    """

    def __init__(self, root: Path, error: int, at: int | None):
        self.root = str(root)
        self.error = error
        self.at = at
        self.seen = 0

    def change(self, path: Any, *, frees: bool = False, counts: bool = True) -> None:
        """Count a change, unless it is like the one before it, and raise if it is to fail."""
        name = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        if not os.path.abspath(name).startswith(self.root):
            return
        if counts and not frees:
            self.seen += 1
        failing = self.at is not None and self.seen > self.at
        if failing and not (frees and self.error == FULL):
            raise OSError(self.error, os.strerror(self.error), name)


_disk: Disk | None = None
_is_hooked = False


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if _disk is None:
        return
    if event == "open":
        path, mode, flags = args
        writes = any(c in mode for c in "wax+") if isinstance(mode, str) else flags & os.O_CREAT
        if writes and (_disk.error != FULL or not os.path.exists(path)):
            _disk.change(path)
    elif event in CHANGES:
        _disk.change(args[CHANGES[event]], frees=event in FREEING)


class _Writer(io.BufferedWriter):
    """A file whose first two writes count; of one that fails, half is written."""

    writes = 0

    def write(self, data: Any) -> int:
        assert _disk is not None
        self.writes += 1
        try:
            name = self.raw.name  # type: ignore[attr-defined]  # a FileIO
            _disk.change(name, counts=self.writes <= 2)
        except OSError:
            super().write(memoryview(data)[: len(data) // 2])
            raise
        return super().write(data)


@contextmanager
def failing(root: Path, error: int, at: int | None) -> Iterator[Disk]:
    """Inside, what is below `root` fails from change number `at` on; None: it never does."""
    global _disk, _is_hooked
    if not _is_hooked:
        sys.addaudithook(_watch)
        _is_hooked = True

    def opened(path: Any, mode: str) -> Any:
        return _Writer(io.FileIO(path, "w")) if mode == "wb" else builtins.open(path, mode)

    def fsync(file: int) -> None:
        assert _disk is not None
        _disk.change(os.readlink(f"/proc/self/fd/{file}"))
        os.fsync(file)

    disk = Disk(root, error, at)
    with (
        mock.patch.object(files, "open", opened, create=True),
        mock.patch.object(files, "os", mock.Mock(wraps=os, fsync=fsync)),
    ):
        _disk = disk
        try:
            yield disk
        finally:
            _disk = None
