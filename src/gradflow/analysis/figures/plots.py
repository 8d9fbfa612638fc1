"""The plots that every study draws with: `(data, *, x, y, hue, ax) -> ax` on tidy frames.

Means and cells are seaborn's, with Student's interval of this package as its `errorbar`.
Profiles and curves, which have thousands of groups, are aggregated by whole columns first:
seaborn calls a function per group.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm

from gradflow.analysis.figures.style import COLORS, TWIN_LOOKS
from gradflow.core.errors import GradflowError
from gradflow.statistics import intervals_by, t_interval

Looks = Mapping[Any, Mapping[str, Any]]
"""A level of `hue` -> how its line looks, as keywords of `Axes.plot`; drawn in this order."""
Ends = tuple[float, float]

PERCENT = (0.0, 100.0)
"""Limits of an error in percent, which an interval over few seeds may pass."""
CELL_TEXT = 7  # points


def t_errorbar(limits: Ends = (-np.inf, np.inf)) -> Callable[[npt.ArrayLike], Ends]:
    """seaborn's `errorbar`: the 95 % t interval, cut at limits that its mean does not pass."""

    def ends(values: npt.ArrayLike) -> Ends:
        mean, low, high, *_ = t_interval(values)
        least, most = limits
        return min(mean, max(low, least)), max(mean, min(high, most))

    return ends


def means(
    data: pd.DataFrame,
    *,
    x: str,
    y: str,
    hue: str = "twin",
    looks: Looks = TWIN_LOOKS,
    ax: Axes,
    log: bool = False,
    limits: Ends = (-np.inf, np.inf),
    seeds: bool = False,
    orient: str = "x",
) -> Axes:
    """Mean and 95 % t interval of `y` at each `x`, a line per level of `hue`.

    Args:
        log: a log axis; mean and interval are of the logarithm, and values that have none are
            left out.
        limits: at which intervals are cut.
        seeds: draw every row as a small mark too.
        orient: "y" for horizontal bars: mean and interval of `x` at each `y`.
    """
    value = y if orient == "x" else x
    if log:
        ax.set_yscale("log")
        data = data[np.isfinite(data[value].astype(float)) & (data[value] > 0)]
    labels = {"xlabel": ax.get_xlabel(), "ylabel": ax.get_ylabel()}  # seaborn names its columns
    for level, look in looks.items():
        rows = data[(data[hue] == level) & data[value].notna()].astype({value: float})
        if rows.empty:
            continue
        color = look["color"]
        seaborn.lineplot(
            rows,
            x=x,
            y=y,
            orient=orient,
            errorbar=t_errorbar(limits),
            err_style="bars",
            err_kws={"capsize": 2, "elinewidth": 0.9},
            legend=False,
            ax=ax,
            **{"label": str(level), "markeredgecolor": color} | dict(look),
        )
        if seeds:
            ax.plot(rows[x], rows[y], ".", color=color, alpha=0.5, markersize=3)
    ax.set(**labels)
    return ax


def curves(
    data: pd.DataFrame,
    *,
    x: str,
    y: str,
    hue: str = "twin",
    looks: Looks = TWIN_LOOKS,
    ax: Axes,
    log: bool = False,
    limits: Ends = (-np.inf, np.inf),
) -> Axes:
    """Mean of `y` by `x` as a line and its 95 % t interval as a band, per level of `hue`.

    The arguments are those of `means`. For many places: aggregated by `intervals_by`.
    """
    if log:
        ax.set_yscale("log")
    summary = intervals_by(data, [hue, x], y, log=log)
    for level, look in looks.items():
        line = summary[summary[hue] == level]
        if line.empty:
            continue
        ax.plot(line[x], line["mean"], **{"label": str(level), "marker": None} | dict(look))
        low, high = line.low.clip(lower=limits[0]), line.high.clip(upper=limits[1])
        ax.fill_between(line[x], low, high, color=look["color"], alpha=0.15, lw=0)
    return ax


def profile(data: pd.DataFrame, *, x: str, y: str, ax: Axes) -> Axes:
    """`y` against `x` on a log axis by twin: thin lines for runs, thick for their geometric mean.

    Single seeds rather than an interval: if one of three networks vanishes and another does
    not, the interval of their mean says less than the three lines.
    """
    data = data[np.isfinite(data[y]) & (data[y] > 0)].sort_values(x)
    summary = intervals_by(data, ["twin", x], y, log=True)
    for twin, color in COLORS.items():
        for _, run in data[data.twin == twin].groupby("run_id"):
            ax.plot(run[x], run[y], color=color, alpha=0.5, lw=0.5)
        line = summary[summary.twin == twin]
        ax.plot(line[x], line["mean"], color=color, label=twin)
    ax.set_yscale("log")
    return ax


def cells(
    values: pd.DataFrame, texts: pd.DataFrame, *, ax: Axes, cmap: str, low: float, high: float
) -> QuadMesh:
    """A colored cell per value, first row on top, and its text in it; NaN stays white.

    Returns:
        What a color bar is made of.
    """
    seaborn.heatmap(
        values.astype(float),
        annot=texts,
        fmt="",
        annot_kws={"fontsize": CELL_TEXT},
        cmap=cmap,
        vmin=low,
        vmax=high,
        linewidths=0.5,
        cbar=False,
        xticklabels=[_short(name) for name in values.columns],
        yticklabels=[_short(name) for name in values.index],
        ax=ax,
    )
    # seaborn writes nothing into a cell without a value, whose text says why there is none.
    for row, column in zip(*np.nonzero(values.isna().to_numpy()), strict=True):
        place: dict[str, Any] = {
            "ha": "center",
            "va": "center",
            "fontsize": CELL_TEXT,
            "color": "k",
        }
        ax.text(column + 0.5, row + 0.5, str(texts.iat[row, column]), **place)
    ax.set(xlabel="", ylabel="")
    ax.tick_params(length=0, rotation=0)
    [mesh] = ax.collections
    assert isinstance(mesh, QuadMesh)
    return mesh


def twin_surfaces(
    data: pd.DataFrame, *, x: str, y: str, value: str, axes: Sequence[Axes], label: str
) -> None:
    """A `surface` per twin on axes side by side, with one color scale and its bar.

    Raises:
        GradflowError: no value is above 0.
    """
    data = data[np.isfinite(data[value].astype(float)) & (data[value] > 0)]
    if data.empty:
        raise GradflowError(f"{value}: no recorded value is above 0 and finite, nothing to draw")
    scale = LogNorm(data[value].min(), data[value].max())
    for ax, twin in zip(axes, COLORS, strict=True):
        here = data[data["twin"] == twin]
        if len(here):
            mesh = surface(here, x=x, y=y, value=value, ax=ax, scale=scale)
    axes[0].figure.colorbar(mesh, ax=list(axes), label=label, pad=0.01)


def surface(
    data: pd.DataFrame, *, x: str, y: str, value: str, ax: Axes, scale: LogNorm
) -> QuadMesh:
    """The geometric mean of `value` by `x` and `y`, both to scale, as colors.

    Returns:
        What a color bar is made of.
    """
    logs = data.assign(log=np.log(data[value].astype(float)))
    grid = logs.pivot_table(index=y, columns=x, values="log")
    return ax.pcolormesh(
        grid.columns.to_numpy(),
        grid.index.to_numpy(),
        np.exp(grid.to_numpy(dtype=float)),
        norm=scale,
        cmap="viridis",
        rasterized=True,
    )


def _short(name: Hashable) -> str:
    return f"{name:g}" if isinstance(name, float) else str(name)
