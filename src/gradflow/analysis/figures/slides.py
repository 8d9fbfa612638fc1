"""A figure for slides: one panel per slide, 16:9, with text that the last row can read."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

SIZE = (40 / 3, 7.5)  # inches, as presentation programs have them
SLIDES: dict[str, Any] = {
    "font.size": 22,
    "axes.titlesize": 24,
    "axes.labelsize": 22,
    "legend.fontsize": 20,
    "xtick.labelsize": 20,
    "ytick.labelsize": 20,
}
"""Sizes in points on a slide of `SIZE`; the smallest text of a panel is "x-small": 15 points."""
THICKER = 2.4  # lines and marks, than on a page


class Canvas(FigureCanvasAgg):
    """Draws when it is saved alone.

    Limits that are set on one of several shared axes have matplotlib draw the figures of the
    others at once, which may be half made: a log axis without data cannot be drawn.
    """

    def draw_idle(self, *args: Any, **kwargs: Any) -> None:
        """Nothing."""


def new_figure(size: tuple[float, float]) -> Figure:
    """A figure of this size in inches.

    Not pyplot's, which would choose a window system for a notebook or a script that has one.
    """
    made = Figure(figsize=size)
    Canvas(made)
    return made


class Slides:
    """The panels of a figure, each a figure of its own.

    It takes the calls that a study makes on a figure of all panels: `legend` and `colorbar`.

    Attributes:
        figures: a figure per panel, row by row.
        grid: the axes, rows x columns, as matplotlib's `subplots` gives them.
    """

    def __init__(self, rows: int, columns: int, *, shared: Mapping[str, Any]) -> None:
        """`shared`: options of `subplots`; of these `sharex` and `sharey` count."""
        self.figures: list[Figure] = [new_figure(SIZE) for _ in range(rows * columns)]
        panels = [made.add_subplot() for made in self.figures]
        self.grid = np.array(panels, dtype=object).reshape(rows, columns)
        for row, column in np.ndindex(rows, columns):
            for axis in "xy":
                how = shared.get(f"share{axis}", False)
                first = {
                    True: (0, 0),
                    "all": (0, 0),
                    "row": (row, 0),
                    "col": (0, column),
                }.get(how)
                if first is not None and first != (row, column) and (how != "none"):
                    getattr(self.grid[row, column], f"share{axis}")(self.grid[first])

    @property
    def axes(self) -> list[Axes]:
        """The panels, row by row."""
        return list(self.grid.flat)

    def legend(self, handles: Any, labels: Any, **options: Any) -> None:
        """The same legend on every slide."""
        for made in self.figures:
            made.legend(list(handles), list(labels), **options)

    def colorbar(self, mesh: Any, *, ax: Sequence[Axes], **options: Any) -> None:
        """A color bar on the slide of each of these axes."""
        scale = ScalarMappable(mesh.norm, mesh.cmap)
        for one in ax:
            self.figures[self.axes.index(one)].colorbar(scale, ax=one, **options)

    def finish(self) -> None:
        """Give every panel what it had of its neighbors, and a slide's weight of lines."""
        for (row, column), ax in np.ndenumerate(self.grid):
            if not ax.get_ylabel():
                ax.set_ylabel(self._nearest(list(self.grid[row, :column][::-1]), "y"))
            if not ax.get_xlabel():
                ax.set_xlabel(self._nearest(list(self.grid[row + 1 :, column]), "x"))
            if not ax.get_title():
                ax.set_title(self._title(row, column))
            self._name_rows(row, column)
            ax.set_title("", loc="left")  # the panel's letter
        for made in self.figures:
            for line in made.findobj(Line2D):
                line.set_linewidth(THICKER * line.get_linewidth())
                line.set_markersize(THICKER * line.get_markersize())
                line.set_markeredgewidth(THICKER * line.get_markeredgewidth())
            for patch in (patch for ax in made.axes for patch in ax.patches):
                patch.set_linewidth(THICKER * patch.get_linewidth())

    def _name_rows(self, row: int, column: int) -> None:
        """Give cells without names of their rows those of the panel to the left."""
        ax = self.grid[row, column]
        if len(ax.get_yticks()) == 0 and column:
            left = self.grid[row, column - 1]
            ax.set_yticks(left.get_yticks(), [label.get_text() for label in left.get_yticklabels()])

    @staticmethod
    def _nearest(axes: Iterable[Axes], axis: str) -> str:
        labels = (getattr(ax, f"get_{axis}label")() for ax in axes)
        return next(filter(None, labels), "")

    def _title(self, row: int, column: int) -> str:
        """That of the column, which stands above its first panel."""
        return str(self.grid[0, column].get_title()) if row else ""
