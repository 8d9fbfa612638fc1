"""Files of torch.save that carry the id of their run and a digest, checked when they are read.

Behind the ZIP archive of torch.save, where its readers do not look, stands one line:
`gradflow <run id> <SHA-256 of the archive and the id>`.
"""

import hashlib
import re
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from gradflow.core.errors import DamageError, GradflowError
from gradflow.core.files import atomic_file, move_aside

LINE = re.compile(rb"\ngradflow (.+) ([0-9a-f]{64})\n\Z")
LONGEST = 512  # bytes of the line


def save_signed(path: Path, state: Any, keep: Path | None = None) -> None:
    """Write what torch.load reads, signed as of the run whose folder it lies in.

    Args:
        keep: what the file before is called from then on; None: it is replaced.

    Raises:
        OSError: the disk is full or the folder cannot be written to; `path` is as before.
    """
    run_id = path.parent.name.encode()
    if path.is_dir():
        move_aside(path, path.parent)
    with atomic_file(path) as file:
        archive = _Hashed(file)
        try:
            torch.save(state, archive)  # type: ignore[arg-type]  # it calls write and flush alone
        except RuntimeError as failure:  # torch's own, of a write that failed
            if archive.error is None:
                raise
            raise archive.error from failure
        archive.digest.update(run_id)
        file.write(b"\ngradflow %s %s\n" % (run_id, archive.digest.hexdigest().encode()))
        if keep is not None and path.exists():
            path.replace(keep)  # killed here, a run resumes from that one


class _Hashed:
    """A file that is written to, the digest of what was written, and the last error."""

    def __init__(self, file: BinaryIO):
        self.file = file
        self.digest = hashlib.sha256()
        self.flush = file.flush
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise


def load_signed(path: Path, run_id: str, *, unsigned: bool = False) -> Any:
    """What `save_signed` left of the run with this id; on the CPU.

    Args:
        unsigned: accept a file without the line, of an older version, if the checksums of its
            archive are right.

    Raises:
        DamageError: it is not what was written, or it is of another run.
        GradflowError: there is none, or it may not be read.
    """
    try:
        with open(path, "rb") as file:
            _check(path, file, run_id, unsigned=unsigned)
            file.seek(0)
            return torch.load(file, map_location="cpu", weights_only=True)
    except (PermissionError, FileNotFoundError) as error:
        raise GradflowError(f"{path}: cannot be read ({error.strerror})") from error
    except GradflowError:
        raise
    # Whatever else a damaged archive, or a directory in its place, leads to.
    except Exception as error:
        raise DamageError(f"{path}: cannot be read ({type(error).__name__})") from error


def _check(path: Path, file: BinaryIO, run_id: str, *, unsigned: bool) -> None:
    size = file.seek(0, 2)
    file.seek(max(0, size - LONGEST))
    line = LINE.search(file.read())
    if line is None:
        if unsigned and zipfile.ZipFile(file).testzip() is None:
            return
        raise DamageError(f"{path}: is incomplete or damaged (it has no digest)")
    signed, digest = line[1].decode(errors="replace"), hashlib.sha256()
    left = size - len(line[0])
    file.seek(0)
    while left and (data := file.read(min(left, 1 << 20))):
        digest.update(data)
        left -= len(data)
    digest.update(line[1])
    if digest.hexdigest().encode() != line[2]:
        raise DamageError(f"{path}: is damaged (its digest differs)")
    if signed != run_id:
        raise DamageError(f"{path}: is of another run, {signed}")
