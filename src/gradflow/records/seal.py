"""A parquet file that carries its own digests, and what is wrong with one that differs from them.

The footer's metadata hold `gradflow seal <body><footer>`: SHA-256 of the bytes before the footer
and of the footer (with 32 zeros in the place of its own digest), 32 hexadecimal digits each. A
view checks the footer, and leaves each page to its CRC; what is at most TAIL bytes long, and every
part of a run that is resumed or ends, is checked as a whole.

They also say of which run and table the part is, and in a runs table which parts the run ended
with, so that a part that is lost, doubled or of another run is found too.
"""

import hashlib
import io
import os
import re
import stat
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gradflow.config.saved import command_of
from gradflow.core.errors import GradflowError

MARK = b"gradflow seal "
DIGITS = 32
OF = re.compile(rb"gradflow part of ([^\n]+)\n")
PARTS = re.compile(rb"gradflow parts\n((?:[^\n ]+ [0-9a-f]{64}\n)*)\.")
OTHER = "it is of"  # another run or table
MISSING, SURPLUS = "it is missing", "the run ended without it"
TAIL = 1 << 16  # bytes that are read at once, from the end: most footers, and most small files
END = 8  # bytes after the footer: its length, and PAR1

ALWAYS_SEALED = ("index",)
NEEDED = ("run_id", "status", "network_depth", "network_skip", "seed", "steps", "code_version")
ADDED_LATER = {
    "attempts": ("machine", "python_version", "instruction_set", "resumed_from"),
    "blocks": ("block_name", "elsewhere_grad_norm", "reason", "stream_shares"),
    "evaluations": ("batch_error",),
    "landscape": ("code_version",),
}
"""Columns that a file without a seal, of an older version, may lack; of a runs table all but
NEEDED. A whole sealed file has all the columns that its version had."""


def sealed(rows: pa.Table, *, of: str = "", parts: Mapping[str, str] | None = None) -> bytes:
    """A table as a parquet file with its digests.

    Args:
        of: the run and the table, such as 0f1e2d3c/layers.
        parts: path in the run's folder -> `digest_of` each part that the run ended with.
    """
    facts = {"seal": (MARK + b"0" * 2 * DIGITS).decode()}
    if of:
        facts["of"] = f"gradflow part of {of}\n"
    if parts is not None:
        lines = "".join(f"{path} {digest}\n" for path, digest in parts.items())
        facts["parts"] = f"gradflow parts\n{lines}."
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
        writer.add_key_value_metadata(facts)
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
    try:
        found = os.stat(path)
    except FileNotFoundError:
        if os.path.islink(path):
            return "it is a link to nothing"
        raise
    if stat.S_ISFIFO(found.st_mode):  # which would be waited for
        return "it is a pipe"
    return _fault(path, table, schema, whole, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=1 << 16)
def _fault(
    path: str, table: str, schema: pa.Schema, whole: bool, _changed: int, size: int
) -> str | None:
    try:
        tail, start = _end_of(path, size, whole=whole)
        if start < 0:
            return "it is incomplete"
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
    if not right:
        return "its digest differs"
    run = os.path.basename(os.path.dirname(os.path.dirname(os.path.abspath(path))))
    of = OF.search(footer)
    if of is not None and of[1].decode() != f"{run}/{table}":
        return f"{OTHER} {of[1].decode()}"
    return None


def _end_of(path: str, size: int, *, whole: bool) -> tuple[bytes, int]:
    """The end of a file with its footer, or all of it, and at which byte of that the footer
    begins; a negative number if it is incomplete."""
    with open(path, "rb") as file:
        file.seek(max(0, size - TAIL))
        tail = file.read()
        length = int.from_bytes(tail[-END:-4], "little") + END
        if (whole and size > len(tail)) or len(tail) < length <= size:
            file.seek(0)
            tail = file.read()
    return tail, -1 if length > size or tail[-4:] != b"PAR1" else len(tail) - length


def digest_of(path: str | Path) -> str:
    """The digests that a part carries, hexadecimal if it is whole; empty if it has none, or
    cannot be read."""
    if not os.path.isfile(path):  # a pipe would be waited for
        return ""
    try:
        tail, start = _end_of(str(path), os.path.getsize(path), whole=False)
    except OSError:
        return ""
    place = tail.rfind(MARK, max(0, start)) + len(MARK)
    found = tail[place : place + 2 * DIGITS]
    return found.decode("ascii", "replace") if place >= len(MARK) else ""


def parts_listed(path: str) -> dict[str, str] | None:
    """Path and `digest_of` each part that a run ended with, by a part of its runs table.

    None: of an older version, which did not list them.
    """
    found = os.stat(path)
    return _parts_listed(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=1 << 16)
def _parts_listed(path: str, _changed: int, size: int) -> dict[str, str] | None:
    tail, start = _end_of(path, size, whole=False)
    listed = PARTS.search(tail, max(0, start))
    if listed is None:
        return None
    return dict(line.split(" ") for line in listed[1].decode().splitlines())


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
    again = f"its rows are made again by {command_of(Path(path).absolute().parents[1])}"
    cure = "move it away" if fault.startswith(OTHER) else again
    return f"{path}: not a readable parquet file of gradflow ({fault}); {cure}"


def _digest(data: bytes | bytearray | memoryview) -> bytes:
    return hashlib.sha256(data).hexdigest()[:DIGITS].encode()
