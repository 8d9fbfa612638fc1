"""The points of a figure as rows: of its lines, bars, bands and cells."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection, QuadMesh
from matplotlib.figure import Figure

COLUMNS = ["panel", "title", "kind", "artist", "label", "x", "y", "value"]


def drawn(made: Figure) -> pd.DataFrame:
    """A row per point.

    panel: a, b, ... in the order of the axes; kind: line, bar (its ends), band (its outline) or
    cell; artist: its number in the panel; label: as in the legend; value: of a cell.
    """
    rows = [
        (letter, ax.get_title(), *row)
        for letter, ax in zip("abcdefghijklmnopqrstuvwxyz", made.axes, strict=False)
        for row in _of_panel(ax)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _of_panel(ax: Axes) -> Iterator[tuple[object, ...]]:
    for number, line in enumerate(ax.get_lines()):
        if line.get_linestyle() == line.get_marker() == "None":
            continue  # an error bar without its line
        label = _shown(line.get_label())
        for x, y in np.asarray(line.get_xydata(), dtype=float):
            yield "line", number, label, x, y, None
    for number, artist in enumerate(ax.collections, start=len(ax.get_lines())):
        label = _shown(artist.get_label())
        if isinstance(artist, QuadMesh):
            corners = np.asarray(artist.get_coordinates(), dtype=float)
            middles = (corners[:-1, :-1] + corners[1:, 1:]).reshape(-1, 2) / 2
            array = np.ma.asarray(artist.get_array(), dtype=float)  # type: ignore[var-annotated]
            values = np.ma.filled(array, np.nan)
            for (x, y), value in zip(middles, values.ravel(), strict=True):
                yield "cell", number, label, x, y, value
        elif isinstance(artist, LineCollection):
            for segment in artist.get_segments():
                for x, y in np.asarray(segment, dtype=float):
                    if np.isfinite(x + y):  # one run has no interval
                        yield "bar", number, label, x, y, None
        elif isinstance(artist, PolyCollection):
            for path in artist.get_paths():
                for x, y in np.asarray(path.vertices, dtype=float):
                    yield "band", number, label, x, y, None


def _shown(label: object) -> str:
    """The legend's label; matplotlib's own names for what has none begin with a dash."""
    return "" if str(label).startswith("_") else str(label)
