"""What a parquet file of a data set holds; known without reading one."""

from typing import NamedTuple


class Layout(NamedTuple):
    """What a file holds.

    kind: of the data set, for messages.
    image: the column of images, `height` x `width`, RGB or gray (`channels`).
    label: the column of labels, 0 ... classes-1.
    """

    kind: str
    image: str
    label: str
    height: int
    width: int
    classes: int
    channels: int = 3
