"""Walking over a frame. Its keys and cells are of the records' schema, which types cannot know:
pandas-stubs call them any scalar, here they are Any."""

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd


def groups(frame: pd.DataFrame, keys: str | Sequence[str]) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Key and rows of each group in the order of the keys; a tuple for a list of keys."""
    yield from frame.groupby(keys if isinstance(keys, str) else list(keys))


def dicts(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """A dictionary per row: column -> cell."""
    return [{str(column): cell for column, cell in row.items()} for row in frame.to_dict("records")]
