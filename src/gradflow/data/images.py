"""One column of RGB or gray images to uint8: encoded files, or nested lists of pixels."""

import io
import math
import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from gradflow.data.cache import Bytes

FORMATS = ("PNG", "WEBP", "JPEG")
MODES = {1: "L", 3: "RGB"}  # channels -> what Pillow calls them
PNG_DEPTH = 24  # offset of the bits per channel, PNG specification, 11.2.2


class BadRowError(Exception):
    """A row that is not what it should be: its number, its value, and what would be valid."""

    def __init__(self, row: int, what: str, need: str):
        super().__init__(row, what, need)
        self.row, self.what, self.need = row, what, need

    def read(self, kind: str) -> str:
        """The line for the user; `kind` is the data set's name."""
        return f"row {self.row}: {self.what}; {kind} has {self.need}"


class UnreadableRowError(BadRowError):
    """An image that cannot be decoded."""

    def read(self, kind: str) -> str:
        """The line for the user."""
        return f"cannot be read at row {self.row}: {self.what}; {kind} has {self.need}"


def shown(value: object) -> str:
    """A value for a message: one line, not too long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:56]}...{text[-1]}"


def shown_type(kind: object) -> str:
    """An Arrow type likewise: fields may have any names."""
    return shown(str(kind))[1:-1]


def read_images(chunk: Any, name: str, images: Bytes) -> None:
    """Fill `images` [N, C, H, W], of 1 or 3 channels, from the N rows of an Arrow array.

    Args:
        chunk: a struct with the field `bytes`, or binary: encoded images; or nested lists of
            integers, [H][W][3] or [3][H][W], of gray images [H][W].
        name: the column's, for messages.
        images: written in place.

    Raises:
        BadRowError: a row is null, is no such image, has another mode, size or depth than 8 bits
            of C x H x W, or more than one frame.
    """
    need = _need(images)
    if isinstance(chunk.type, pa.ExtensionType):
        chunk = chunk.storage
    if pa.types.is_dictionary(chunk.type):
        chunk = chunk.dictionary_decode()
    if chunk.null_count:
        row = pc.index(pc.is_null(chunk), True).as_py()
        raise BadRowError(row, f"{name} is null", need)
    kind = chunk.type
    if pa.types.is_struct(kind) and [field.name for field in kind].count("bytes") == 1:
        read_images(chunk.field("bytes"), f"{name}.bytes", images)
    elif _is_bytes(kind):
        _decode(chunk.to_pylist(), name, images)
    elif _is_list(kind):
        _read_pixels(chunk, name, images)
    else:
        raise BadRowError(0, f"{name} is {shown(chunk[0].as_py())} ({shown_type(kind)})", need)


def _size(images: Bytes) -> tuple[int, int, int]:
    _, channels, height, width = images.shape
    return height, width, channels


def _need(images: Bytes) -> str:
    return f"{_size(images)} of 8-bit {'gray' if images.shape[1] == 1 else 'RGB'}"


def _is_bytes(kind: Any) -> bool:
    types = pa.types
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_binary_view(kind)
    )


def _is_list(kind: Any) -> bool:
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _decode(encoded: list[bytes], name: str, images: Bytes) -> None:
    need, size = _need(images), _size(images)
    with warnings.catch_warnings():
        # Of damaged images, and of those that are too large to be meant, Pillow only warns.
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for row, image in enumerate(encoded):
            try:
                opened = Image.open(io.BytesIO(image), formats=FORMATS)
                what = _objection(opened, image, size)
                if what is None:
                    images[row] = np.asarray(opened).reshape(size).transpose(2, 0, 1)
            except Exception as error:  # Pillow's decoders raise exceptions of many types
                what = f"{name} is {shown(image[:16])}, no image of {', '.join(FORMATS)}"
                raise UnreadableRowError(row, what, need) from error
            if what is not None:
                raise BadRowError(row, f"{name} is {what}", need)


def _objection(opened: Image.Image, image: bytes, size: tuple[int, int, int]) -> str | None:
    """What is wrong with an opened image, before its pixels are decoded."""
    if (opened.height, opened.width) != size[:2]:
        return f"an image of {(opened.height, opened.width, len(opened.getbands()))}"
    if opened.mode != MODES[size[2]]:
        return f"{opened.format} of mode {opened.mode}"
    if getattr(opened, "n_frames", 1) != 1:
        return f"{opened.format} of several frames"
    if opened.format == "PNG":
        if image[PNG_DEPTH] != 8:  # Pillow would keep the upper half of each channel
            return f"PNG of {image[PNG_DEPTH]} bits per channel"
        with Image.open(io.BytesIO(image)) as other:
            other.verify()  # the checksums, which decoding ignores; it spoils what it verifies
    return None


def _read_pixels(chunk: Any, name: str, images: Bytes) -> None:
    height, width, channels = _size(images)
    sides = f"{[height]}{[width]}"
    layouts = f"{sides}[3] or [3]{sides}" if channels == 3 else sides
    need = f"pixels from 0 to 255 in nested lists, {layouts}"
    values, shape = chunk, list[int]()
    while _is_list(values.type):
        lengths = pc.list_value_length(values).to_numpy(zero_copy_only=False)
        length = int(lengths[0]) if len(lengths) else 0
        other = np.flatnonzero(lengths != length)
        if len(other):
            what = f"{name} has lists of {length} and of {lengths[other[0]]}"
            raise BadRowError(int(other[0]) // math.prod(shape), what, need)
        shape.append(length)
        values = values.flatten()
        if values.null_count:
            entry = pc.index(pc.is_null(values), True).as_py()
            raise BadRowError(entry // math.prod(shape), f"{name} holds null", need)
    gray = {(height, width)} if channels == 1 else set()
    if tuple(shape) not in {(height, width, channels), (channels, height, width), *gray}:
        sizes = "".join(f"[{length}]" for length in shape)
        order = " (in which order is unknown)" if shape == [height * width * channels] else ""
        raise BadRowError(0, f"{name} is a list {sizes}{order}", need)
    if not pa.types.is_integer(values.type):
        raise BadRowError(
            0, f"{name} holds {shown(values[0].as_py())} ({shown_type(values.type)})", need
        )
    pixels = values.to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero((pixels < 0) | (pixels > 255))
    if len(wrong):
        row = int(wrong[0]) // math.prod(shape)
        raise BadRowError(row, f"{name} holds {pixels[wrong[0]]}", need)
    if shape[0] == channels or len(shape) == 2:
        images[:] = pixels.reshape(images.shape)
    else:
        images[:] = pixels.reshape(-1, *shape).transpose(0, 3, 1, 2)
