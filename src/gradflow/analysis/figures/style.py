"""One look for every figure: colors, sizes by venue, axes and legends."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from tueplots import bundles

# Two hues that color-blind readers tell apart (Okabe and Ito 2008), and of different
# lightness for print in gray; plain and residual keep them in every figure.
COLORS = {"plain": "#D55E00", "residual": "#0072B2"}
BEST = "#CC79A7"  # what is chosen, among cells
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


VENUES: dict[str, Callable[[], dict[str, Any]]] = {
    "web": dict,
    "neurips": lambda: bundles.neurips2024(usetex=False),
    "icml": lambda: bundles.icml2024(usetex=False, column="full"),
    "ieee": lambda: bundles.cvpr2024(usetex=False, column="full"),  # CVPR prints in IEEE's style
    "slides": lambda: bundles.beamer_moml(),
}
"""Venue of a figure -> its page width, font and sizes, as tueplots knows them."""


def _settings(venue: str) -> tuple[dict[str, Any], float]:
    """matplotlib's settings for a venue, and its page width in inches."""
    chosen = VENUES[venue]()
    sizes = ("font.size", "axes.labelsize", "axes.titlesize", "legend.fontsize")
    kept = {*sizes, "xtick.labelsize", "ytick.labelsize", "font.family", "font.serif"}
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
) -> Iterator[tuple[Figure, Any]]:
    """A page-wide figure of rows x columns panels (always a 2-D array of axes).

    `height`: in inches on a page of 6.75; on another in proportion. `venue`: of `VENUES`.
    """
    settings, width = _settings(venue)
    with matplotlib.rc_context(cast(Any, settings)):  # stubs list the keys as literals
        # Not pyplot's: it would choose a window system for a notebook or a script that has one.
        made = Figure(figsize=(width, height * width / PAGE))
        FigureCanvasAgg(made)
        yield made, made.subplots(rows, columns, squeeze=False, **options)


def letter_panels(axes: Sequence[Axes]) -> None:
    """a, b, c, ... at the upper left of each panel."""
    for letter, ax in zip("abcdefgh", axes, strict=False):
        ax.set_title(f"{letter}", loc="left", fontweight="bold")


def depth_axis(ax: Axes, depths: Sequence[int]) -> None:
    """Depths as ticks of a linear axis."""
    ax.set_xticks(list(depths), [str(depth) for depth in depths])
    ax.set_xlabel("depth (weighted layers)")


def depth_colors(depths: Sequence[int]) -> dict[int, Any]:
    """A shade of one perceptually even map for each depth, darker for deeper."""
    shades = matplotlib.colormaps["viridis_r"](np.linspace(0.1, 0.95, max(len(depths), 2)))
    return dict(zip(depths, shades, strict=False))


def legend(ax: Axes, **options: Any) -> None:
    """The legend of a panel, if anything in it has a label."""
    if ax.get_legend_handles_labels()[0]:
        ax.legend(**options)


def depth_legend(ax: Axes, depths: Sequence[int], **options: Any) -> None:
    """A legend of the shades of `depth_colors`."""
    shades = depth_colors(depths)
    handles = [Line2D([], [], color=shades[depth], label=str(depth)) for depth in depths]
    ax.legend(handles=handles, title="depth", **{"handlelength": 1.2} | options)


def state_legend(ax: Axes, states: Mapping[str, Any], **options: Any) -> None:
    """A legend of line styles, in gray."""
    handles = [Line2D([], [], color="0.3", ls=ls, label=name) for name, ls in states.items()]
    ax.legend(handles=handles, **{"handlelength": 2.2} | options)
