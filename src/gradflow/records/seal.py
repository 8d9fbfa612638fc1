"""A parquet file that carries its own digests, and what is wrong with one that differs from them.

The footer's metadata hold `gradflow seal <body><footer>`: SHA-256 of the bytes before the footer
and of the footer (with 32 zeros in the place of its own digest), 32 hexadecimal digits each. A
view checks the footer, and leaves each page to its CRC; what is at most TAIL bytes long, and every
part of a run that is resumed or ends, is checked as a whole.
"""

import hashlib
import io
import os
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gradflow.config.saved import command_of
from gradflow.core.errors import GradflowError

MARK = b"gradflow seal "
DIGITS = 32
TAIL = 1 << 16  # bytes that are read at once, from the end: most footers, and most small files
END = 8  # bytes after the footer: its length, and PAR1

ALWAYS_SEALED = ("index",)
NEEDED = ("run_id", "status", "network_depth", "network_skip", "seed", "steps", "code_version")
ADDED_LATER = {
    "attempts": ("machine", "python_version", "instruction_set", "resumed_from"),
    "blocks": ("block_name", "elsewhere_grad_norm", "reason"),
    "landscape": ("code_version",),
}
"""Columns that a file without a seal, of an older version, may lack; of a runs table all but
NEEDED. A whole sealed file has all the columns that its version had."""


def sealed(rows: pa.Table) -> bytes:
    """A table as a parquet file with its digests."""
    floats = [field.name for field in rows.schema if pa.types.is_floating(field.type)]
    others = [
        field.name
        for field in rows.schema
        if pa.types.is_string(field.type) or pa.types.is_int32(field.type)
    ]
    sink = io.BytesIO()
    with pq.ParquetWriter(
        sink,
        rows.schema,
        compression="zstd",
        use_dictionary=others,
        use_byte_stream_split=floats,
        # Of one row they would be most of the file, and the row is as quickly read.
        write_statistics=rows.num_rows > 1,
        write_page_checksum=True,
        store_schema=False,  # the parquet types say all
    ) as writer:
        writer.write_table(rows)
        writer.add_key_value_metadata({"seal": (MARK + b"0" * 2 * DIGITS).decode()})
    file = sink.getbuffer()
    start = len(file) - END - int.from_bytes(file[-END:-4], "little")
    place = start + bytes(file[start:]).rindex(MARK) + len(MARK)
    file[place : place + DIGITS] = _digest(file[:start])
    file[place + DIGITS : place + 2 * DIGITS] = _digest(file[start:])
    return bytes(file)


def fault_of(path: str, table: str, schema: pa.Schema, *, whole: bool) -> str | None:
    """Why a part file of a table is not what was written; None if nothing is wrong.

    Args:
        whole: check every byte, or every page of a file without a seal, not only the footer.

    Raises:
        FileNotFoundError: there is no such file (any more).
        GradflowError: it may not be read.
    """
    found = os.stat(path)
    return _fault(path, table, schema, whole, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=1 << 16)
def _fault(
    path: str, table: str, schema: pa.Schema, whole: bool, _changed: int, size: int
) -> str | None:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, size - TAIL))
            tail = file.read()
            length = int.from_bytes(tail[-END:-4], "little") + END
            if (whole and size > len(tail)) or len(tail) < length <= size:
                file.seek(0)
                tail = file.read()
        if length > size or tail[-4:] != b"PAR1":
            return "it is incomplete"
        start = len(tail) - length
        footer = bytearray(tail[start:])
        place = footer.rfind(MARK) + len(MARK)
        if place < len(MARK):
            if table in ALWAYS_SEALED:
                return "it has no digest"
            return _fault_of_unsealed(path, table, schema, whole)
        body, own = footer[place : place + DIGITS], footer[place + DIGITS : place + 2 * DIGITS]
        footer[place + DIGITS : place + 2 * DIGITS] = b"0" * DIGITS
        right = _digest(footer) == own
        if len(tail) == size:
            right &= _digest(memoryview(tail)[:start]) == body
    except PermissionError as error:
        raise GradflowError(f"{path}: cannot be read ({error.strerror})") from error
    except FileNotFoundError:
        raise
    except OSError as error:
        return error.strerror or type(error).__name__
    return None if right else "its digest differs"


def _fault_of_unsealed(path: str, table: str, schema: pa.Schema, whole: bool) -> str | None:
    """Of a file of an older version, or one that somebody else wrote."""
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        if whole:
            file.scan_contents()
        there = file.schema_arrow
    except (pa.ArrowException, OSError) as error:
        return type(error).__name__
    for column in schema:
        if column.name in there.names:
            # Measured numbers were float32 in older versions; a reader widens them exactly.
            allowed = (column.type, pa.float32()) if column.type == pa.float64() else (column.type,)
            if (kind := there.field(column.name).type) not in allowed:
                return f"column {column.name} is {kind}, not {column.type}"
        elif column.name not in ADDED_LATER.get(table, ()) and (
            table != "runs" or column.name in NEEDED
        ):
            return f"column {column.name} is missing"
    return None


def line_of(path: str | Path, fault: str) -> str:
    """The line that names a damaged part."""
    return (
        f"{path}: not a readable parquet file of gradflow ({fault}); "
        f"its rows are made again by {command_of(Path(path).parents[1])}"
    )


def _digest(data: bytes | bytearray | memoryview) -> bytes:
    return hashlib.sha256(data).hexdigest()[:DIGITS].encode()
