"""A coordinate check in one figure: how outputs, and their changes, scale with width or depth."""

import textwrap
from collections.abc import Mapping
from typing import Any, cast

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, NullLocator

from gradflow.analysis.figures import style
from gradflow.analysis.figures.notebook import NotebookFigure

OUTSIDE = style.COLORS["plain"]
SHADES = (0.0, 0.85)  # of viridis, first layer to last
NAMED = 10  # lines in the legend
DODGE = 0.5  # of a step, over which the layers' intervals are spread
TITLES = {"size": "output's size", "change": "output's change since initialization"}


def draw_coordinates(
    sizes: pd.DataFrame,
    slopes: pd.DataFrame,
    axis: str,
    wanted: float,
    tolerance: float,
    headline: str,
) -> NotebookFigure:
    """Above, root mean squares at the last step; below, the exponents of all steps.

    Args:
        sizes, slopes: of a `CoordinateCheck`.
        axis: width or depth.
        headline: the text above it.
    """
    looks = _looks(slopes)
    with matplotlib.rc_context(cast(Any, style.RC)):
        made = NotebookFigure(figsize=(style.PAGE + 0.6, 5.4))
        FigureCanvasAgg(made)
        axes = made.subplots(2, 2, sharex="row")
        axes[1, 1].sharey(axes[1, 0])
        steps = np.sort(sizes.step.unique())
        last = steps[-1]
        for column, quantity in enumerate(TITLES):
            top, below = axes[:, column]
            _draw_sizes(
                top, sizes[(sizes.quantity == quantity) & (sizes.step == last)], axis, looks
            )
            top.set_title(f"$\\bf{{{'ab'[column]}}}$  {TITLES[quantity]}, step {last}", loc="left")
            below.axhspan(wanted - tolerance, wanted + tolerance, color="0.92", lw=0)
            below.axhline(wanted, color=style.GUIDE, lw=0.6)
            _draw_exponents(below, slopes[slopes.quantity == quantity], looks)
            below.set_title(f"$\\bf{{{'cd'[column]}}}$  exponent of the {quantity}", loc="left")
            below.set_xlabel("step")
            below.set_xticks(steps, [str(step) for step in steps])
        axes[0, 0].set_ylabel("root mean square")
        axes[1, 0].set_ylabel("exponent, 95 % interval")
        made.legend(handles=_handles(looks), loc="outside right upper", fontsize=6.5)
        made.suptitle("\n".join(textwrap.wrap(headline, 105)), fontsize=8, x=0.01, ha="left")
    return made


def _looks(slopes: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """A color per layer by its place; layers with an exponent outside stand out."""
    layers = list(dict.fromkeys(slopes.layer))
    shades = matplotlib.colormaps["viridis"](np.linspace(*SHADES, len(layers)))
    outside = set(slopes.layer[slopes.says == "outside"])
    free = set(slopes.layer[slopes.may_shrink])
    markers = style.DEPTH_MARKERS * (len(layers) // len(style.DEPTH_MARKERS) + 1)
    return {
        layer: {
            "color": OUTSIDE if layer in outside else to_hex(shade),
            "zorder": 3 if layer in outside else 2,
            "lw": 1.6 if layer in outside else 0.9,
            "ls": "--" if layer in free else "-",
            "marker": marker,
            "ms": 3,
        }
        for layer, shade, marker in zip(layers, shades, markers, strict=False)
    }


def _draw_sizes(
    ax: Axes, sizes: pd.DataFrame, axis: str, looks: Mapping[str, Mapping[str, Any]]
) -> None:
    """Geometric means over seeds; what is 0 has no place on the axis."""
    logs = sizes[sizes.rms > 0].assign(log=lambda rows: np.log(rows.rms))
    means = logs.groupby(["layer", axis]).log.mean()
    for layer, look in looks.items():
        if layer in means.index:
            line = np.exp(means[layer])
            ax.plot(line.index, line, **look)
    at = np.sort(sizes[axis].unique())
    ax.set(xscale="log", xlabel=axis)
    style.log_axis(ax)
    ax.set_xticks(at, [str(size) for size in at])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_minor_formatter(NullFormatter())
    low, high = ax.get_ylim()
    middle, reach = np.sqrt(low * high), 10**0.5  # at least a decade: noise is no slope
    ax.set_ylim(min(low, middle / reach), max(high, middle * reach))


def _draw_exponents(ax: Axes, slopes: pd.DataFrame, looks: Mapping[str, Mapping[str, Any]]) -> None:
    shifts = np.linspace(-DODGE / 2, DODGE / 2, len(looks)) if len(looks) > 1 else [0.0]
    for shift, (layer, look) in zip(shifts, looks.items(), strict=True):
        rows = slopes[(slopes.layer == layer) & slopes.slope.notna()]
        if len(rows):
            ends = np.abs(rows[["low", "high"]].to_numpy().T - rows.slope.to_numpy())
            ax.errorbar(rows.step + shift, rows.slope, ends, elinewidth=0.8, **look)


def _handles(looks: Mapping[str, Mapping[str, Any]]) -> list[Line2D]:
    """The layers; of many, the first, the last, and those that are outside."""
    layers = list(looks)
    if len(layers) > NAMED:
        chosen = [layer for layer in layers if looks[layer]["color"] == OUTSIDE][: NAMED - 2]
        layers = [layer for layer in layers if layer in {layers[0], layers[-1], *chosen}]
    handles = [Line2D([], [], label=_short(layer), **looks[layer]) for layer in layers]
    if len(looks) > len(layers):
        handles.append(Line2D([], [], ls="none", label=f"and {len(looks) - len(layers)} more"))
    if any(look["color"] == OUTSIDE for look in looks.values()):
        handles.append(Line2D([], [], color=OUTSIDE, lw=1.6, label="one is outside"))
    handles.append(Line2D([], [], color="0.4", ls="--", lw=0.9, label="may shrink"))
    return handles


def _short(name: str, longest: int = 22) -> str:
    return name if len(name) <= longest else f"…{name[1 - longest :]}"
