"""Images and labels from parquet files, each row checked; what is refused names file and row."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gradflow.core.errors import GradflowError
from gradflow.data.cache import Bytes
from gradflow.data.images import BadRowError, read_images, shown, shown_type
from gradflow.data.layout import Layout


def read_parquet(file: Path, layout: Layout) -> tuple[Bytes, Bytes]:
    """Images [N, C, H, W] and labels [N] of one file, in its order.

    Labels are whole numbers of any integer or floating type. Images are encoded (PNG, WebP or
    JPEG; plain bytes, or a struct with the field `bytes`) or nested lists of integers
    [H][W][3] or [3][H][W], of gray images [H][W].

    Raises:
        GradflowError: an unreadable file, other columns, no rows; a row whose label is no
            class or whose image is none of these. One line with the file, the row (counted
            from 0) and its value.
    """
    try:
        # As a file, never as a data set: the names of its folders add no columns.
        with pq.ParquetFile(file, page_checksum_verification=True) as opened:
            names = opened.schema_arrow.names
            wanted = [layout.image, layout.label]
            if any(names.count(name) != 1 for name in wanted):
                raise ValueError(f"its columns are {shown(names)}")
            table = opened.read(columns=wanted)
        if not table.num_rows:
            raise ValueError("it has no rows")
        labels = _read_labels(table[layout.label], layout)
        return _read_chunks(table[layout.image], layout), labels
    except BadRowError as bad:
        raise GradflowError(f"{file}: {bad.read(layout.kind)}") from bad
    except Exception as error:  # damaged bytes lead pyarrow to exceptions of many types
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise GradflowError(
            f"{file}: cannot be read as {layout.kind} parquet with the columns "
            f"{layout.image} and {layout.label} ({reason})"
        ) from error


def _read_chunks(column: Any, layout: Layout) -> Bytes:
    shape = (len(column), layout.channels, layout.height, layout.width)
    images = np.empty(shape, np.uint8)
    start = 0
    for chunk in filter(len, column.chunks):
        part = images[start : start + len(chunk)]
        try:
            read_images(chunk, layout.image, part)
        except BadRowError as bad:
            bad.row += start
            raise
        start += len(chunk)
    return images


def _read_labels(column: Any, layout: Layout) -> Bytes:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    need = f"whole numbers from 0 to {layout.classes - 1}"
    if column.null_count:
        row = pc.index(pc.is_null(column), True).as_py()
        raise BadRowError(row, f"{layout.label} is null", need)
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        value = shown(column[0].as_py())
        raise BadRowError(0, f"{layout.label} is {value} ({shown_type(kind)})", need)
    values = column.to_numpy()
    right = (values >= 0) & (values < layout.classes) & (values == np.floor(values))
    if not right.all():
        row = int(np.flatnonzero(~right)[0])
        raise BadRowError(row, f"{layout.label} is {shown(column[row].as_py())}", need)
    labels: Bytes = values.astype(np.uint8)
    return labels
