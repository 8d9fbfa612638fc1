"""Plots on tidy frames: `(data, *, x, y, hue, ax) -> ax`, one call per panel.

Seeds are few and may lie decades apart, so every seed is drawn, and lines are medians: an
interval over three seeds leaves the range of an error, and a geometric mean hides the one that
vanished. Intervals are in the tables. A run without a value has a mark at the panel's edge.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm
from matplotlib.transforms import Transform, offset_copy

from gradflow.analysis.figures.plotted_data import LOST
from gradflow.analysis.figures.style import MISSING, TWIN_LOOKS, Made, log_axis, text_color
from gradflow.core.errors import GradflowError

Looks = Mapping[Any, Mapping[str, Any]]
"""A level of `hue` -> how its line looks, as keywords of `Axes.plot`; drawn in this order."""

PERCENT = (0.0, 100.0)
SEED_SIZE = 3.2  # of the marks of single seeds
SPREAD = 4.0  # points between marks at a panel's edge that would lie on one another
WIDEST = 12.0  # points that the marks of all levels take at one place
EDGE = 0.985  # of the panel's height


def medians(
    data: pd.DataFrame,
    *,
    x: str,
    y: str,
    hue: str = "twin",
    looks: Looks = TWIN_LOOKS,
    ax: Axes,
    log: bool = False,
    orient: str = "x",
    tried: bool = False,
    lost: str = "no value",
) -> Axes:
    """Every row as an open mark, and the median of `y` at each `x` as a line, per level of `hue`.

    Args:
        log: a log axis. The median of an even number of rows is in the middle of the logarithm;
            a 0 is a triangle at the lower edge.
        orient: "y" for values along the horizontal axis: medians of `x` at each `y`.
        tried: a median is one of the values (the lower of two in the middle), for settings.
        lost: what rows whose value is not finite are called in the legend; crosses at the
            upper edge. They count as above all others, so that a line is not of the survivors.
    """
    value, place = (y, x) if orient == "x" else (x, y)
    if log:
        log_axis(ax)
    for level, look in looks.items():
        rows = data[data[hue] == level].astype({value: float})
        numbers = rows[np.isfinite(rows[value]) & ((rows[value] > 0) | (not log))]
        if len(numbers):
            ranked = rows.assign(**{value: rows[value].fillna(np.inf)}).groupby(place)[value]
            line = ranked.agg(lambda v: middle(v, log=log, tried=tried))
            line = line.where(np.isfinite(line) & ((line > 0) | (not log)))
            ends = (line.index, line) if orient == "x" else (line, line.index)
            ax.plot(*ends, **{"label": str(level)} | dict(look))
            mark = {"marker": look.get("marker", "o"), "color": look["color"]}
            seeds = {"ls": "none", "fillstyle": "none", "markersize": SEED_SIZE, "mew": 0.7}
            ax.plot(numbers[x], numbers[y], **mark | seeds)
        if orient == "x":
            at_edges(rows, x=x, y=y, level=level, looks=looks, ax=ax, log=log, lost=lost)
    return ax


def middle(values: npt.ArrayLike, *, log: bool = False, tried: bool = False) -> float:
    """The median; of an even number of values the middle of their logarithms, or the lower one."""
    found = np.sort(np.asarray(values, dtype=float))
    low, high = found[(len(found) - 1) // 2], found[len(found) // 2]
    if tried or low == high:
        return float(low)
    return float(np.sqrt(low * high) if log and low >= 0 else (low + high) / 2)


def at_edges(
    rows: pd.DataFrame,
    *,
    x: str,
    y: str,
    level: Hashable,
    looks: Looks,
    ax: Axes,
    log: bool,
    lost: str = "no value",
) -> None:
    """Marks for rows that have no place on the axis: a cross above, or a triangle below for 0."""
    values = rows[y].to_numpy(dtype=float)
    below = np.isfinite(values) & (values <= 0) & log
    turn = list(looks).index(level)
    for where, height, marker, name in (
        (~np.isfinite(values), EDGE, "x", lost),
        (below, 1 - EDGE, "v", "0"),
    ):
        here = rows[where]
        order = here.groupby(x).cumcount()
        own = looks[level].get("label", level)
        label = None if str(own).startswith("_") else f"{level}, {name}"
        for number in range(int(order.max()) + 1 if len(here) else 0):
            some = here[order == number]
            right = (turn - (len(looks) - 1) / 2) * min(SPREAD, WIDEST / len(looks))
            inward = number * SPREAD * (1 if height < 0.5 else -1)
            transform = aside(ax, ax.get_xaxis_transform(), right, inward)
            ax.plot(
                some[x], np.full(len(some), height), marker, color=looks[level]["color"],
                transform=transform, clip_on=False, markersize=4, label=label, gid=LOST,
            )  # fmt: skip
            label = None


def aside(ax: Axes, transform: Transform, right: float, up: float = 0.0) -> Transform:
    """A transform that draws as many points to the right, and up."""
    return offset_copy(transform, ax.get_figure(root=True), right, up, "points")


def curves(
    data: pd.DataFrame,
    *,
    x: str,
    y: str,
    hue: str = "twin",
    looks: Looks = TWIN_LOOKS,
    ax: Axes,
    log: bool = False,
) -> Axes:
    """Median of `y` by `x` as a line, and a band from the lowest to the highest seed, by `hue`.

    A run that ends before the others has a cross at its end. The arguments are those of
    `medians`; values that a log axis has no place for are gaps.
    """
    if log:
        log_axis(ax)
    for level, look in looks.items():
        rows = data[(data[hue] == level) & data[y].notna()].astype({y: float})
        if rows.empty:
            continue
        summary = _summary(rows, x, y, log=log)
        line = {"label": str(level), "marker": None} | dict(look)
        ax.plot(summary.index, summary["median"], **line)
        ax.fill_between(
            summary.index, summary["min"], summary["max"], color=look["color"], alpha=0.15, lw=0
        )
        _mark_ends(rows, x, y, look["color"], ax)
    return ax


def _summary(rows: pd.DataFrame, x: str, y: str, *, log: bool) -> pd.DataFrame:
    """median, min and max of `y` by `x`; NaN if a log axis has no place for it."""
    grouped = rows.groupby(x)[y]
    if log:
        with np.errstate(divide="ignore"):  # the logarithm of 0 is below all others
            grouped = rows.assign(**{y: np.log10(rows[y].clip(lower=0))}).groupby(x)[y]
    table = grouped.agg(["median", "min", "max"])
    if not log:
        return table
    found = 10.0**table
    return found.where((found > 0) & np.isfinite(found))


def _mark_ends(rows: pd.DataFrame, x: str, y: str, color: Any, ax: Axes) -> None:
    if "run_id" not in rows.columns:
        return
    ends = rows.loc[rows.groupby("run_id")[x].idxmax(), [x, y]]
    early = ends[ends[x] < rows[x].max()]
    if len(early):
        ax.plot(early[x], early[y], "x", color=color, markersize=4)


def profile(data: pd.DataFrame, *, x: str, y: str, ax: Axes) -> Axes:
    """`y` against `x` on a log axis by twin: thin lines for runs, thick for their median.

    Single seeds rather than an interval: if one of three networks vanishes and another does
    not, the interval of their mean says less than the three lines. What is 0 or not finite is a
    gap in its line, with a mark at the lower or upper edge.
    """
    log_axis(ax)
    for twin, look in TWIN_LOOKS.items():
        rows = data[data.twin == twin].sort_values(x).astype({y: float})
        if rows.empty:
            continue
        color = look["color"]
        shown = rows.assign(**{y: rows[y].where(np.isfinite(rows[y]) & (rows[y] > 0))})
        for _, run in shown.groupby("run_id"):
            ax.plot(run[x], run[y], color=color, lw=0.5)
        line = rows.dropna(subset=y).groupby(x)[y].agg(lambda v: middle(v, log=True))
        ax.plot(
            line.index, line.where(np.isfinite(line) & (line > 0)), color=color, lw=1.6, label=twin,
            ls="-" if twin == "plain" else (0, (5, 1)),
        )  # fmt: skip
        _mark_ends(rows, x, y, color, ax)
        for where, height, name in (
            (rows[y] <= 0, 1 - EDGE, "0"),
            (~np.isfinite(rows[y]), EDGE, "not finite"),
        ):
            places = np.unique(rows.loc[where, x])
            if len(places):
                ax.plot(
                    places, np.full(len(places), height), "|", color=color, markersize=4, gid=LOST,
                    transform=ax.get_xaxis_transform(), clip_on=False, label=f"{twin}, {name}",
                )  # fmt: skip
    return ax


def cells(
    values: pd.DataFrame, texts: pd.DataFrame, *, ax: Axes, cmap: str, low: float, high: float
) -> QuadMesh:
    """A colored cell per value, first row on top, and its text in it; NaN is gray.

    Returns:
        What a color bar is made of.
    """
    seaborn.heatmap(
        values.astype(float), cmap=_gray_for_missing(cmap), vmin=low, vmax=high, cbar=False,
        linewidths=0.5, xticklabels=[_short(name) for name in values.columns],
        yticklabels=[_short(name) for name in values.index], ax=ax,
    )  # fmt: skip
    [mesh] = ax.collections
    assert isinstance(mesh, QuadMesh)
    for (row, column), number in np.ndenumerate(values.to_numpy(dtype=float)):
        back = MISSING if np.isnan(number) else mesh.to_rgba(number)
        ax.text(
            column + 0.5, row + 0.5, str(texts.iat[row, column]), ha="center", va="center",
            fontsize="small", color=text_color(back),
        )  # fmt: skip
    ax.set(xlabel="", ylabel="")
    ax.tick_params(length=0, rotation=0)
    return mesh


def twin_surfaces(
    data: pd.DataFrame, *, made: Made, x: str, y: str, value: str, axes: Sequence[Axes], label: str
) -> None:
    """A `surface` per twin on axes side by side, with one color scale and its bar.

    Raises:
        GradflowError: no value is above 0.
    """
    numbers = data[value].astype(float)
    numbers = numbers[np.isfinite(numbers) & (numbers > 0)]
    if numbers.empty:
        raise GradflowError(f"{value}: no recorded value is above 0 and finite, nothing to draw")
    scale = LogNorm(numbers.min(), numbers.max())
    for ax, twin in zip(axes, TWIN_LOOKS, strict=True):
        here = data[data["twin"] == twin]
        if len(here):
            mesh = surface(here, x=x, y=y, value=value, ax=ax, scale=scale)
        else:
            ax.text(0.5, 0.5, f"no {twin} networks", ha="center", transform=ax.transAxes)
    made.colorbar(mesh, ax=list(axes), label=label, pad=0.01)


def surface(
    data: pd.DataFrame, *, x: str, y: str, value: str, ax: Axes, scale: LogNorm
) -> QuadMesh:
    """The median of `value` by `x` and `y`, both to scale, as colors; 0 and NaN are gray.

    Returns:
        What a color bar is made of.
    """
    with np.errstate(divide="ignore"):
        logs = data.assign(log=np.log(data[value].astype(float).clip(lower=0)))
    grid = 10.0 ** (
        logs.pivot_table(index=y, columns=x, values="log", aggfunc="median") / np.log(10)
    )
    return ax.pcolormesh(
        grid.columns.to_numpy(),
        grid.index.to_numpy(),
        np.ma.masked_less_equal(np.ma.masked_invalid(grid.to_numpy(dtype=float)), 0),
        norm=scale,
        cmap=_gray_for_missing("viridis"),
        rasterized=True,
    )


def _gray_for_missing(name: str) -> Any:
    import matplotlib

    return matplotlib.colormaps[name].with_extremes(bad=MISSING)


def _short(name: Hashable) -> str:
    return f"{name:g}" if isinstance(name, float) else str(name)
