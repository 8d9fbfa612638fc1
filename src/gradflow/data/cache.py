"""Decoded arrays, kept in a file of a cache folder with a note of what they are.

<name>.npz holds the arrays, <name>.json their fingerprint and shapes, and size and times of the
.npz. While these stand, the .npz is what was written, and a start costs two small reads. If they
do not (a copied, touched or altered file), the arrays are read and compared with the fingerprint.
Each read of arrays compares the checksums in the .npz, which finds what no time tells: bits that
a disk lost. Whatever is not as it was is made again from the source, and a line says so.
"""

import contextlib
import glob
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gradflow.core.errors import GradflowError
from gradflow.core.files import atomic_file
from gradflow.core.progress import tell

Bytes = npt.NDArray[np.uint8]
AnyArray = npt.NDArray[Any]
Arrays = dict[str, AnyArray]
"""train_images and test_images: uint8 [N, C, H, W]; float64 [N, features]; whole numbers
[N, context], which are tokens. train_labels and test_labels: uint8 [N], classes; float64 [N, K];
whole numbers [N, context], the next tokens."""


class Note(NamedTuple):
    """What <name>.json holds; `stamp`: size in bytes, times of change in nanoseconds."""

    name: str
    fingerprint: str
    shapes: dict[str, list[int]]
    stamp: list[int]


def note_of(name: str, decode: Callable[[], Arrays], cache: Path) -> Note:
    """Fingerprint and shapes of a data set, decoded by the first process that asks.

    Raises:
        GradflowError: as `decode`; or the folder cannot be written to.
    """
    path = cache / f"{name}.npz"
    note = _trusted(path) or _compared(path)
    if note is None:
        with _locked(path):
            note = _trusted(path) or _compared(path)
            if note is None:
                if path.exists():
                    tell(f"{path}: {_complaint(path)}; it is decoded again")
                note = _write(path, decode())
    return note


def arrays_of(name: str, decode: Callable[[], Arrays], cache: Path) -> Arrays:
    """The arrays themselves.

    Raises:
        GradflowError: as `note_of`.
    """
    note_of(name, decode, cache)
    path = cache / f"{name}.npz"
    if (arrays := _read(path)) is None:
        with _locked(path):
            if (arrays := _read(path)) is None:
                tell(f"{path}: is damaged; it is decoded again")
                arrays = decode()
                _write(path, arrays)
    return arrays


def fingerprint_of(arrays: Arrays) -> str:
    """Sixteen hexadecimal digits that identify every byte of the arrays."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name}{arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()[:16]


def _stamp(path: Path) -> list[int]:
    try:
        stat = path.stat()
    except OSError:  # deleted meanwhile
        return []
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _trusted(path: Path) -> Note | None:
    """The note, if the .npz has the size and the times that it had when it was written."""
    note = _noted(path)
    return note if note and note.stamp == _stamp(path) else None


def _compared(path: Path) -> Note | None:
    """The note, with the present times, if the arrays are those of its fingerprint."""
    note = _noted(path)
    if note is None or (arrays := _read(path)) is None:
        return None
    if fingerprint_of(arrays) != note.fingerprint:
        return None
    note = note._replace(stamp=_stamp(path))
    with contextlib.suppress(OSError):  # a folder that is only read: they are compared each time
        _write_note(path, note)
    return note


def _complaint(path: Path) -> str:
    if _noted(path) is None:
        return f"{path.stem}.json, the note of what it holds, is missing or damaged"
    return "is damaged, or was altered"


def _noted(path: Path) -> Note | None:
    """The note, if it is whole and of this .npz."""
    try:
        digest, _, text = path.with_suffix(".json").read_bytes().partition(b"\n")
        if digest != _digest(text):
            return None
        note = Note(**json.loads(text))
    except (OSError, TypeError):  # TypeError: written by another version
        return None
    return note if note.name == path.stem and path.is_file() else None


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:16].encode()


def _read(path: Path) -> Arrays | None:
    """The arrays, or None if they are damaged."""
    try:
        with path.open("rb") as file, np.load(file) as stored:  # np.load would leave it open
            return {name: stored[name] for name in stored.files}
    except PermissionError as error:
        raise GradflowError(f"{path}: cannot be read ({error.strerror})") from error
    except Exception:  # damaged bytes lead zipfile and NumPy to exceptions of many types
        return None


def _write(path: Path, arrays: Arrays) -> Note:
    shapes = {name: list(array.shape) for name, array in arrays.items()}
    with _told(path):
        for left in path.parent.glob(f".{glob.escape(path.stem)}.*.tmp"):
            left.unlink()  # by a process that was killed: this one holds the lock
        with atomic_file(path) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # its stub has allow_pickle
        note = Note(path.stem, fingerprint_of(arrays), shapes, _stamp(path))
        _write_note(path, note)
    return note


def _write_note(path: Path, note: Note) -> None:
    text = json.dumps(note._asdict()).encode()
    with atomic_file(path.with_suffix(".json")) as file:
        file.write(_digest(text) + b"\n" + text)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time."""
    from filelock import FileLock  # the table of data sets is read where nothing is locked

    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_suffix(".lock"))
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """An OSError inside is the user's to mend: one line that names the file."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise GradflowError(f"{path}: decoded data cannot be written ({reason})") from error
