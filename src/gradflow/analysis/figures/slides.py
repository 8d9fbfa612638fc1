"""A figure for slides: one panel per slide, 16:9, with text that the last row can read."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

SIZE = (40 / 3, 7.5)  # inches, as presentation programs have them
MARGIN = 0.3  # inches
LONGEST = 14  # entries of a legend below one another
SLIDES: dict[str, Any] = {
    "font.size": 22,
    "axes.titlesize": 24,
    "axes.labelsize": 22,
    "legend.fontsize": 20,
    "xtick.labelsize": 20,
    "ytick.labelsize": 20,
    "legend.borderaxespad": 1.2,  # type sizes; as wide as the margin
    "axes.linewidth": 1.4,
    "axes.labelpad": 8,
    "axes.titlepad": 14,
    **{f"{axis}tick.{kind}.pad": 10 for axis in "xy" for kind in ("major", "minor")},
}
"""Points on a slide of `SIZE`; the smallest text of a panel is "x-small": 15 points."""
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


def labeled(ax: Axes) -> dict[str, Any]:
    """What has a label in a panel, by it."""
    return {name: handle for handle, name in zip(*ax.get_legend_handles_labels(), strict=True)}


def _data_lines(ax: Axes) -> list[Line2D]:
    """Without guides, which have a place on one of its axes alone."""
    return [line for line in ax.get_lines() if line.get_transform().contains_branch(ax.transData)]


def _color(artist: Any) -> Any:
    return to_rgb(artist.get_color()) if isinstance(artist, Line2D) else None


def _has(handle: Any, ax: Axes) -> bool:
    """Whether a panel has a line of the color of a legend's entry."""
    return any(_color(line) == _color(handle) for line in _data_lines(ax))


def _alike(line: Line2D, ax: Axes) -> dict[str, Any]:
    """The labels of a panel's lines of a line's color and dashes; marks alone have no dashes."""
    return {
        name: handle
        for name, handle in labeled(ax).items()
        if _color(handle) == _color(line)
        and (len({handle.get_linestyle(), line.get_linestyle()} - {"None"}) < 2)
    }


class Slides:
    """The panels of a figure, each a figure of its own.

    It takes the call that a study makes on a figure of all panels: `colorbar`.

    Attributes:
        figures: a figure per panel, row by row.
        grid: the axes, rows x columns, as matplotlib's `subplots` gives them.
    """

    def __init__(self, rows: int, columns: int, *, shared: Mapping[str, Any]) -> None:
        """`shared`: options of `subplots`; of these `sharex` and `sharey` count."""
        self.figures: list[Figure] = [new_figure(SIZE) for _ in range(rows * columns)]
        for made in self.figures:
            made.set_layout_engine("constrained", w_pad=MARGIN, h_pad=MARGIN)
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

    def entries(
        self, axes: Sequence[Axes], handles: Sequence[Any]
    ) -> Iterator[tuple[Figure, dict[str, Any]]]:
        """Each slide with the entries, by name, of a legend of what its own panel shows.

        That is what has a label in it; of `handles`, those of a color in it, or in no panel; and
        for its other lines the labels that the nearest of `axes` has for such lines.
        """
        everywhere = [one for one in handles if not any(map(partial(_has, one), self.axes))]
        for (row, column), ax in np.ndenumerate(self.grid):
            found = labeled(ax) if ax in axes else {}
            found |= {h.get_label(): h for h in handles if h in everywhere or _has(h, ax)}
            near = [*self.grid[:, column], *self.grid[row], *self.axes]
            for line in _data_lines(ax):
                if not any(_color(line) == _color(named) for named in found.values()):
                    found |= next(filter(None, (_alike(line, o) for o in near if o in axes)), {})
            yield self.figures[self.axes.index(ax)], found

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
