"""One look for every figure: colors, sizes by venue, axes and legends."""

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, cast

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter, MaxNLocator

from gradflow.analysis.figures.slides import LONGEST, SLIDES, Slides, labeled, new_figure

Made = Figure | Slides
"""A figure of all panels, or one figure per panel."""

# Two hues that color-blind readers tell apart (Okabe and Ito 2008), and of different
# lightness for print in gray; plain and residual keep them in every figure.
COLORS = {"plain": "#D55E00", "residual": "#0072B2"}
GUIDE = "0.5"  # lines at a value that means something: 1, one half, 0
MISSING = "0.85"  # cells without a value
MARKERS = {"plain": "o", "residual": "s"}
TWIN_LOOKS: dict[str, dict[str, Any]] = {
    twin: {"color": COLORS[twin], "marker": MARKERS[twin]} for twin in COLORS
}

# The two moments that a diagnostic measures at, and how their lines differ.
STATE_LINES: dict[str, Any] = {"initialization": (0, (4, 1.5)), "trained": "-"}
STATE_TITLES = {"initialization": "at initialization", "trained": "trained"}

PAGE = 6.75  # inches: the width that heights are given for

RC: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,  # TrueType: embedded and editable
    "svg.hashsalt": "gradflow",
}


def _bundle(name: str, **options: Any) -> dict[str, Any]:
    from tueplots import bundles

    return cast(dict[str, Any], getattr(bundles, name)(usetex=False, **options))


VENUES: dict[str, Callable[[], dict[str, Any]]] = {
    "web": dict,
    "neurips": lambda: _bundle("neurips2024"),
    "icml": lambda: _bundle("icml2024", column="full"),
    "ieee": lambda: _bundle("cvpr2024", column="full"),  # CVPR prints in IEEE's style
    "slides": lambda: SLIDES,
}
"""Venue of a figure -> its page width, font and sizes, as tueplots knows them."""


def _settings(venue: str) -> tuple[dict[str, Any], float]:
    """matplotlib's settings for a venue, and its page width in inches."""
    chosen = VENUES[venue]()
    kept = {*SLIDES, "font.family", "font.serif"}
    width = chosen.get("figure.figsize", (PAGE, 0))[0]
    settings = RC | {key: value for key, value in chosen.items() if key in kept}
    if settings.get("font.family") == "serif":
        # matplotlib brings STIX, cut like Times, for machines that have no Times.
        settings["font.serif"] = [*settings.get("font.serif", []), "STIXGeneral"]
        settings["mathtext.fontset"] = "stix"
    return settings, width


@contextmanager
def figure(
    rows: int, columns: int, *, height: float, venue: str = "web", **options: Any
) -> Iterator[tuple[Made, Any]]:
    """A page-wide figure of rows x columns panels (always a 2-D array of axes).

    `height`: in inches on a page of 6.75; on another in proportion. `venue`: of `VENUES`; for
    slides each panel is a figure of its own.
    """
    settings, width = _settings(venue)
    with matplotlib.rc_context(cast(Any, settings)):  # stubs list the keys as literals
        made: Made
        if venue == "slides":
            made = Slides(rows, columns, shared=options)
            axes = made.grid
        else:
            made = new_figure((width, height * width / PAGE))
            axes = made.subplots(rows, columns, squeeze=False, **options)
        yield made, axes


def figures_of(made: Made) -> list[Figure]:
    """The figures that are written: one, or one per panel."""
    return made.figures if isinstance(made, Slides) else [made]


def stamp(made: Figure, lines: Sequence[str]) -> None:
    """Notes and provenance in the figure's footer, broken at the figure's width."""
    size = 5.5
    text = _wrapped(lines, made, size)
    made.supxlabel(text, fontsize=size, color="0.4", x=0.995, ha="right", ma="right")


def heading(made: Figure, lines: Sequence[str], *, slide: bool = False) -> None:
    """Which setting a figure shows, above all of it; on a slide the legend is to the right."""
    size = float(matplotlib.rcParams["font.size"])
    text = _wrapped(lines, made, size)
    if made.legends and not slide:  # a title of the figure would lie on it
        made.legends[0].set_title(text, prop=FontProperties(size=size))
    else:
        made.suptitle(text, fontsize=size)


def _wrapped(lines: Sequence[str], made: Figure, size: float) -> str:
    letters = int(made.get_figwidth() * 72 / (0.55 * size))
    return "\n".join(part for line in lines for part in textwrap.wrap(line, letters))


def letter_panels(axes: Sequence[Axes]) -> None:
    """a, b, c, ... at the upper left of each panel."""
    for letter, ax in zip("abcdefgh", axes, strict=False):
        ax.set_title(f"{letter}", loc="left", fontweight="bold")


def depth_axis(ax: Axes, depths: Sequence[int]) -> None:
    """Depths as ticks of a linear axis; labels that would touch are turned."""
    ax.set_xticks(list(depths), [str(depth) for depth in depths])
    if len(depths) > 1:
        nearest = np.diff(sorted(depths)).min() / (max(depths) - min(depths))
        width = ax.get_window_extent().width / ax.figure.dpi * 72
        if nearest * width < 1.3 * matplotlib.rcParams["font.size"]:
            ax.tick_params(axis="x", rotation=45)
    ax.set_xlabel("depth (weighted layers)")


def whole_axis(ax: Axes, label: str, *, axis: Literal["x", "y"] = "x") -> None:
    """A linear axis of counts or indices, such as steps, layers or blocks: no tick between two."""
    whole = MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True, min_n_ticks=1)
    (ax.xaxis if axis == "x" else ax.yaxis).set_major_locator(whole)
    ax.set(**{f"{axis}label": label})


class PlainNumbers(LogFormatter):
    """Minor ticks of a log axis as 0.2 and 30, where matplotlib's formatter labels any."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        """The label of a tick; empty between those that have room."""
        return f"{x:g}" if super().__call__(x, pos) else ""


def log_axis(ax: Axes) -> None:
    """A logarithmic axis of values; within a decade its minor ticks are plain numbers."""
    ax.set_yscale("log")
    ax.yaxis.set_minor_formatter(PlainNumbers(minor_thresholds=(1.0, 0.5)))


SHALLOWEST = 0.58  # of viridis: beyond it the contrast to white is below 3:1
DEPTH_MARKERS = "osD^vPX"


def depth_colors(depths: Sequence[int]) -> dict[int, Any]:
    """A shade of one perceptually even map for each depth, darker for deeper."""
    return shades(depths, "viridis", lightest=SHALLOWEST, darkest=0.0)


def shades(values: Sequence[int], name: str, *, lightest: float, darkest: float) -> dict[int, Any]:
    """A shade of matplotlib's map `name` for each value, between two places on it."""
    found = matplotlib.colormaps[name](np.linspace(lightest, darkest, max(len(values), 2)))
    return dict(zip(values, found, strict=False))


def depth_looks(depths: Sequence[int]) -> dict[int, dict[str, Any]]:
    """A color and a marker for each depth, for lines that have marks."""
    marks = DEPTH_MARKERS * (len(depths) // len(DEPTH_MARKERS) + 1)
    return {
        depth: {"color": color, "marker": marker}
        for (depth, color), marker in zip(depth_colors(depths).items(), marks, strict=False)
    }


def legend(
    made: Made,
    axes: Sequence[Axes],
    *,
    title: str = "",
    handles: Sequence[Any] = (),
) -> None:
    """One legend, off the data: what has a label in any of the panels, then `handles`.

    It is above them; on slides to the right, each with what is on it.
    `title`: what the labels are values of: "depth" makes 8 "depth 8".
    """
    if isinstance(made, Slides):
        for page, found in made.entries(list(axes), handles):
            columns = -(-len(found) // LONGEST)
            _add_legend(page, _named(found, title), loc="outside right center", ncols=columns)
        return
    found = {name: handle for ax in axes for name, handle in labeled(ax).items()}
    found |= {handle.get_label(): handle for handle in handles}
    named = _named(found, title)
    _add_legend(made, named, loc="outside upper center", ncols=_columns(list(named), made))


def _named(found: Mapping[str, Any], title: str) -> dict[str, Any]:
    return {f"{title} {name}".lstrip(): handle for name, handle in found.items()}


def _add_legend(page: Figure, found: Mapping[str, Any], **options: Any) -> None:
    if found:
        page.legend(list(found.values()), list(found), **options)


def _columns(names: Sequence[str], made: Figure) -> int:
    """As many entries of a legend as fit side by side."""
    size = float(matplotlib.rcParams["legend.fontsize"])
    widest = (4.8 + 0.6 * max(map(len, names), default=0)) * size  # points: line, gaps and letters
    whole = sum(4.8 + 0.6 * len(name) for name in names) * size
    room = 72 * made.get_figwidth()
    return len(names) if whole <= room else max(1, int(room / widest))


def depth_handles(depths: Sequence[int]) -> list[Line2D]:
    """Lines for a legend of the shades of `depth_colors`."""
    shades = depth_colors(depths).items()
    return [Line2D([], [], color=shade, label=f"depth {depth}") for depth, shade in shades]


def dash_handles(dashes: Mapping[str, Any]) -> list[Line2D]:
    """Lines for a legend of line styles, in gray."""
    return [Line2D([], [], color="0.3", ls=ls, label=name) for name, ls in dashes.items()]


def luminance(color: Any) -> float:
    """Relative luminance of a color, 0 ... 1 (WCAG 2.1)."""
    parts = np.asarray(to_rgb(color))
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def contrast(first: Any, second: Any) -> float:
    """Contrast of two colors, 1 ... 21 (WCAG 2.1): 3 is the least for graphics, 4.5 for text."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def text_color(back: Any) -> str:
    """Black or white, whichever stands out from a background."""
    return max("kw", key=lambda ink: contrast(ink, back))
