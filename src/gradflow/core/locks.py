"""One process at a time on a run: file locks that the kernel drops when a process dies."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from gradflow.core.errors import GradflowError
from gradflow.core.interrupts import Interrupted, asked_to_stop

if TYPE_CHECKING:  # imported where a lock is made: records alone need none
    from filelock import FileLock

_WAITS: ContextVar[bool] = ContextVar("waits", default=True)
_HELD: dict[Path, tuple[int, int] | None] = {}
"""Lock file that this process holds -> device and inode that it had when it was acquired."""


def lock_of(folder: Path) -> "FileLock":
    """The lock that a process holds while it works on a run; a dead one holds nothing.

    It belongs to the run's real path, by whatever links the folder is reached, and lies
    outside of the run's folder, which may then be deleted at any time.
    """
    from filelock import FileLock

    path = _path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path)


def _path(folder: Path) -> Path:
    folder = Path(os.path.realpath(folder))
    return folder.parent.parent / ".locks" / f"{folder.parent.name}-{folder.name}.lock"


@contextmanager
def drawing(study: Path) -> Iterator[None]:
    """Write a study's figures, tables and pages; a second process waits until they are done.

    Two commands that end together would else read and replace each other's files. A folder that
    is only read is not locked, as nothing can be written there.
    """
    from filelock import FileLock

    real = study.resolve()
    lock = FileLock(real.parent / ".locks" / f"{real.name}.figures.lock")
    try:
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError:
        yield
        return
    try:
        yield
    finally:
        lock.release()


@contextmanager
def held(lock: "FileLock") -> Iterator[None]:
    """Hold a lock, as soon as no other process does.

    Raises:
        Interrupted: it was asked to stop while it waited, or is not to wait.
    """
    from filelock import Timeout

    path = Path(lock.lock_file)
    while True:
        try:
            lock.acquire(timeout=1.0 if _WAITS.get() else 0.0)
        except Timeout:
            if asked_to_stop() or not _WAITS.get():
                raise Interrupted("another process works on the run") from None
        else:
            break
    _HELD[path] = _identity(path)
    try:
        yield
    finally:
        _HELD.pop(path, None)
        lock.release()


def check_held(folder: Path) -> None:
    """Before anything is written to a run that this process has locked: is the lock still its own?

    Raises:
        GradflowError: the lock file was deleted or replaced, so that another process may have
            begun the run too.
    """
    path = _path(folder)
    if path in _HELD and (_HELD[path] is None or _HELD[path] != _identity(path)):
        raise GradflowError(
            f"{path}: the lock was deleted while the run was in progress, and another process may "
            "have begun the run; nothing more is written. The same command resumes the run"
        )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


@contextmanager
def not_waiting() -> Iterator[None]:
    """Inside, a run that another process works on is left to it at once."""
    token = _WAITS.set(False)
    try:
        yield
    finally:
        _WAITS.reset(token)


def is_running(folder: Path) -> bool:
    """Whether a process of any machine that shares the folder works on the run.

    The lock is only read, so that every user who may read the study sees the same.
    """
    try:
        file = os.open(_path(folder), os.O_RDONLY)
    except OSError:  # no process ever worked on it
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
    finally:
        os.close(file)
    return False
