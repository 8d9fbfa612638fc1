"""Writing files that no reader sees half written."""

import os
from pathlib import Path


def atomic_write(path: Path, content: str | bytes) -> None:
    """Replace a file's content in one step; text is written as UTF-8.

    The content goes to a temporary file in the same folder, to the disk, and then takes the
    file's name. If writing fails, the old file stays and the temporary one is removed.
    """
    data = content.encode() if isinstance(content, str) else content
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
