"""One look for every figure, and one way to save it."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from tueplots import bundles

from gradflow.analysis.figures.plotted_data import drawn
from gradflow.analysis.study import Study
from gradflow.core.errors import GradflowError

# Two hues that colour-blind readers tell apart (Okabe and Ito 2008), and of different
# lightness for print in grey; plain and residual keep them in every figure.
COLORS = {"plain": "#D55E00", "residual": "#0072B2"}
BEST = "#CC79A7"  # what is chosen, among cells
MARKERS = {"plain": "o", "residual": "s"}

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
"""Where figures are to stand -> its page width, font and sizes, as tueplots knows them."""

_VENUE: ContextVar[str] = ContextVar("venue", default="web")


@contextmanager
def for_venue(venue: str) -> Iterator[None]:
    """Inside, figures have a venue's width and type, and a folder of their own.

    Raises:
        GradflowError: an unknown venue.
    """
    if venue not in VENUES:
        raise GradflowError(f"--style {venue}: choose among {', '.join(VENUES)}")
    token = _VENUE.set(venue)
    try:
        yield
    finally:
        _VENUE.reset(token)


def _settings() -> tuple[dict[str, Any], float]:
    """matplotlib's settings for the present venue, and its page width in inches."""
    chosen = VENUES[_VENUE.get()]()
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
    rows: int, columns: int, *, height: float, **options: Any
) -> Iterator[tuple[Figure, Any]]:
    """A page-wide figure of rows x columns panels (always a 2-D array of axes), closed after.

    `height`: in inches on a page of 6.75; on another in proportion.
    """
    settings, width = _settings()
    with plt.rc_context(settings):
        size = (width, height * width / PAGE)
        made, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, **options)
        try:
            yield made, axes
        finally:
            plt.close(made)


def letter_panels(axes: Sequence[Axes]) -> None:
    """a, b, c, ... at the upper left of each panel."""
    for letter, ax in zip("abcdefgh", axes, strict=False):
        ax.set_title(f"{letter}", loc="left", fontweight="bold")


def depth_axis(ax: Axes, depths: Sequence[int]) -> None:
    """Depths as ticks of a linear axis."""
    ax.set_xticks(list(depths), [str(depth) for depth in depths])
    ax.set_xlabel("depth (weighted layers)")


def cells(
    values: pd.DataFrame, texts: pd.DataFrame, *, ax: Axes, cmap: str, low: float, high: float
) -> QuadMesh:
    """A coloured cell for each value, first row on top, and its text in it; NaN stays white."""
    grid = values.to_numpy(dtype=float)
    mesh = ax.pcolormesh(grid, cmap=cmap, vmin=low, vmax=high, edgecolors="w", lw=0.5)
    for row, column in np.ndindex(*grid.shape):
        red, green, blue, _ = mesh.to_rgba(grid[row, column])
        dark = not np.isnan(grid[row, column]) and 0.3 * red + 0.6 * green + 0.1 * blue < 0.45
        place = {"ha": "center", "va": "center", "fontsize": 7}
        text = texts.iloc[row, column]
        ax.text(column + 0.5, row + 0.5, text, color="w" if dark else "k", **place)
    ax.set_xticks(np.arange(grid.shape[1]) + 0.5, [str(name) for name in values.columns])
    ax.set_yticks(np.arange(grid.shape[0]) + 0.5, [str(name) for name in values.index])
    ax.tick_params(length=0)
    ax.invert_yaxis()
    return mesh


def save(made: Figure, study: Study, name: str, caption: str, formats: Sequence[str]) -> list[Path]:
    """Write a figure and, beside it, where it came from as JSON and what is drawn as CSV.

    The figure names its study, runs and code in its footer; equal records give equal bytes.
    """
    folder = study.folder / "figures"
    if _VENUE.get() != "web":
        folder /= _VENUE.get()
    folder.mkdir(parents=True, exist_ok=True)
    footer = "\n".join([*(f"note: {note}" for note in study.notes), study.provenance])
    made.supxlabel(footer, fontsize=5.5, color="0.45", x=0.995, ha="right", ma="right")
    dateless = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}
    paths = []
    for kind in formats:
        paths.append(folder / f"{name}.{kind}")
        made.savefig(paths[-1], metadata=dateless[kind])
    facts = {
        "caption": caption,
        "study": study.folder.name,
        "runs": sorted(study.runs.run_id),
        "code_versions": sorted(study.runs.code_version.unique()),
        "notes": list(study.notes),
    }
    (folder / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n")
    drawn(made).to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
    return paths


def depth_colors(depths: Sequence[int]) -> dict[int, Any]:
    """A shade of one perceptually even map for each depth, darker for deeper."""
    shades = plt.get_cmap("viridis_r")(np.linspace(0.1, 0.95, max(len(depths), 2)))
    return dict(zip(depths, shades, strict=False))


def depth_legend(ax: Axes, depths: Sequence[int], **options: Any) -> None:
    """What the shades of `depth_colors` mean."""
    shades = depth_colors(depths)
    handles = [Line2D([], [], color=shades[depth], label=str(depth)) for depth in depths]
    ax.legend(handles=handles, title="depth", **{"handlelength": 1.2} | options)


def state_legend(ax: Axes, states: Mapping[str, Any], **options: Any) -> None:
    """What line styles mean, in grey."""
    handles = [Line2D([], [], color="0.3", ls=ls, label=name) for name, ls in states.items()]
    ax.legend(handles=handles, **{"handlelength": 2.2} | options)
