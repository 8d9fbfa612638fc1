"""The points of a figure as rows: of its lines, bars, bands and cells."""

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import Collection, LineCollection, PolyCollection, QuadMesh
from matplotlib.figure import Figure

from gradflow.analysis.figures.slides import Slides

COLUMNS = ["panel", "title", "kind", "artist", "label", "x", "y", "value"]
LOST = "lost"
"""The gid of marks at a panel's edge, of what has no place on its axis."""


def drawn(made: Figure | Slides) -> pd.DataFrame:
    """A row per point.

    panel: a, b, ... in the order of the axes; kind: line, bar (its ends), band (its outline),
    cell or lost (a mark at the edge: `y` is NaN); artist: its number in the panel; label: as in
    the legend; value: of a cell.
    """
    rows = [
        (letter, ax.get_title(), *row)
        for letter, ax in zip("abcdefghijklmnopqrstuvwxyz", made.axes, strict=False)
        for row in _of_panel(ax)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _of_panel(ax: Axes) -> Iterator[tuple[object, ...]]:
    lines = ax.get_lines()
    for number, line in enumerate(lines):
        if not line.get_linestyle() == line.get_marker() == "None":  # an error bar has no line
            lost = line.get_gid() == LOST
            for x, y in np.asarray(line.get_xydata(), dtype=float):
                kind, y = (LOST, np.nan) if lost else ("line", y)
                yield kind, number, _shown(line.get_label()), x, y, None
    for number, artist in enumerate(ax.collections, start=len(lines)):
        for kind, x, y, value in _of_collection(artist):
            yield kind, number, _shown(artist.get_label()), x, y, value


def _of_collection(artist: Collection) -> Iterator[tuple[str, float, float, float | None]]:
    """kind, x, y and value of its points; none of a collection of another class."""
    if isinstance(artist, QuadMesh):
        corners = np.asarray(artist.get_coordinates(), dtype=float)
        middles = (corners[:-1, :-1] + corners[1:, 1:]).reshape(-1, 2) / 2
        array: np.ma.MaskedArray[tuple[int, ...], np.dtype[np.float64]]
        array = np.ma.asarray(artist.get_array(), dtype=float)
        values = np.ma.filled(array, np.nan)
        for (x, y), value in zip(middles, values.ravel(), strict=True):
            yield "cell", x, y, value
    elif isinstance(artist, LineCollection):
        for x, y in _points(artist.get_segments()):
            if np.isfinite(x + y):  # one run has no interval
                yield "bar", x, y, None
    elif isinstance(artist, PolyCollection):
        for x, y in _points([path.vertices for path in artist.get_paths()]):
            yield "band", x, y, None


def _points(curves: Iterable[npt.ArrayLike]) -> Iterator[tuple[float, float]]:
    for curve in curves:
        yield from np.asarray(curve, dtype=float)


def _shown(label: object) -> str:
    """The legend's label; matplotlib's own names for what has none begin with a dash."""
    return "" if str(label).startswith("_") else str(label)
