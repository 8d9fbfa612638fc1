"""Where a command ends: what the user can mend is one line on stderr, never a traceback."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gradflow.core.errors import GradflowError, shown

OF_A_PATH = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ENAMETOOLONG,
        errno.ELOOP,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EIO,
        errno.ESTALE,
    }
)
"""What a path that the user gave may be, and code that is right cannot help."""


@contextmanager
def one_line() -> Iterator[None]:
    """Ends the process with `error: ...` and status 1 for a GradflowError or an unusable path.

    A reader that closes the pipe, such as head, ends it without a word. Any other exception is a
    bug and keeps its traceback.
    """
    try:
        yield
        sys.stdout.flush()
    except GradflowError as error:
        sys.exit(f"error: {error}")
    except BrokenPipeError:
        with suppress(OSError, ValueError):  # else Python flushes what is left, and complains
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in OF_A_PATH:
            raise
        sys.exit(f"error: {of_path(error)}")


def folder_of(text: str) -> Path:
    """A folder that the user names; `.` and `..` as what they stand for, which has a name."""
    path = Path(text)
    return path if path.name not in ("", "..") else path.resolve()


def of_path(error: OSError) -> str:
    """The path and what is wrong with it."""
    if error.filename is None:  # Arrow's have both in their text
        return shown(str(error).partition("\n")[0], 300)
    path = os.fsdecode(error.filename) if isinstance(error.filename, bytes) else error.filename
    return f"{shown(path, 300)}: {error.strerror}"
