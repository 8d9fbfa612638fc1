"""One training in one figure: where along the depth its gradient dies or explodes, since when."""

from typing import Any, cast

import matplotlib
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import QuadMesh
from matplotlib.colors import ListedColormap, LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from gradflow.analysis.figures import style
from gradflow.analysis.figures.notebook import NotebookFigure
from gradflow.analysis.frames import groups

Floats = npt.NDArray[np.float64]

BROKEN, ZERO, ABSENT = "#D55E00", "#000000", "0.88"
"""Colors of cells that are not finite, exactly 0 (or dead), and not measured."""
MOST_COLUMNS = 400  # steps that are drawn, evenly spread
OUTER = (0.05, 0.95)  # quantiles at the ends of a color scale; what lies outside has its end color
TICKS = 9  # names along the depth
USUAL = 1e-3  # the rule of thumb for a step's size relative to the weights
ALERT = "#CC79A7"
TITLES = {
    "a": "gradient at each block's input",
    "b": "gradient of each layer's weight",
    "c": "one step's update, relative to the weight",
    "d": "gradient's share over the shortcut",
    "e": "loss and alerts",
}


def draw_run(
    layers: pd.DataFrame,
    blocks: pd.DataFrame,
    details: pd.DataFrame,
    steps: pd.DataFrame,
    alerts: pd.DataFrame,
    headline: str,
) -> NotebookFigure:
    """The figure of a run from its tables; those but `layers` may be empty.

    Args:
        alerts: the first of each kind.
        headline: the line above it.
    """
    with matplotlib.rc_context(cast(Any, style.RC)):
        height = 6.4 if len(blocks) else 4.6
        made = NotebookFigure(figsize=(style.PAGE + 0.6, height))
        FigureCanvasAgg(made)
        rows = "abcdee" if len(blocks) else "bcee"
        mosaic = [list(rows[i : i + 2]) for i in range(0, len(rows), 2)]
        axes = made.subplot_mosaic(
            cast(Any, mosaic), height_ratios=[1] * (len(mosaic) - 1) + [0.62], sharex=True
        )
        if len(blocks):
            _draw_blocks(blocks, details, axes)
        _draw_layers(layers, axes)
        _draw_loss(steps, layers, axes["e"])
        _mark_alerts(alerts, axes, layers, blocks)
        for letter, key in zip("abcde", sorted(axes), strict=False):
            axes[key].set_title(f"$\\bf{{{letter}}}$  {TITLES[key]}", loc="left")
        _legend(made)
        made.suptitle(_wrapped(headline), fontsize=9, x=0.01, ha="left")
    return made


def _draw_blocks(blocks: pd.DataFrame, details: pd.DataFrame, axes: dict[str, Axes]) -> None:
    gradient = _grid(blocks, "block_index", "input_grad_norm")
    inside = blocks[blocks.block_index < blocks.block_index.max()]
    share = _grid(inside, "block_index", "skip_share")
    names = _names(blocks, "block_index", "block_name")
    mesh = _map(gradient, ax=axes["a"], norm=_log_norm(gradient), cmap="viridis")
    _bar(mesh, axes["a"], r"$\|\nabla_x L\|$", extend="both")
    mesh = _map(share, ax=axes["d"], norm=Normalize(0, 1), cmap="cividis")
    _bar(mesh, axes["d"], "share", extend="both")
    _mark_dead(details, axes["d"])
    for key in "ad":
        _name_places(axes[key], names)


def _draw_layers(layers: pd.DataFrame, axes: dict[str, Axes]) -> None:
    gradient = _grid(layers, "layer_index", "grad_norm")
    update = _grid(layers, "layer_index", "relative_update")
    # A weight that is all 0 has no norm to be relative to.
    update = update.where(np.isfinite(update), np.nan)
    names = _names(layers, "layer_index", "layer_name")
    absent = _grid(layers.assign(no=layers.grad_state == "none"), "layer_index", "no") > 0
    mesh = _map(gradient, ax=axes["b"], norm=_log_norm(gradient), cmap="viridis", absent=absent)
    _bar(mesh, axes["b"], r"$\|\nabla_W L\|$", extend="both")
    norm: Any = LogNorm(USUAL / 1e3, USUAL * 1e3)
    mesh = _map(update, ax=axes["c"], norm=norm, cmap="RdBu_r", absent=update.isna())
    _bar(mesh, axes["c"], r"$\|\Delta W\| / \|W\|$", extend="both")
    for key in "bc":
        _name_places(axes[key], names)


def _draw_loss(steps: pd.DataFrame, layers: pd.DataFrame, ax: Axes) -> None:
    """The loss by step; the total gradient if no loss was given."""
    known = steps.dropna(subset="loss") if len(steps) else steps
    if len(known):
        ax.plot(known.step, known.loss, color="0.2", lw=0.8)
        ax.set_ylabel("loss")
        losses = known.loss.to_numpy(float)
        finite = losses[np.isfinite(losses) & (losses > 0)]
        if len(finite) and finite.max() > 20 * finite.min():
            ax.set_yscale("log")
        every = steps.sort_values("step")
        wrong = every.step.to_numpy(int)[~np.isfinite(every.loss.to_numpy(float))]
        wrong = wrong[wrong >= int(known.step.min())]
        if len(wrong):
            ax.axvspan(wrong[0] - 0.5, every.step.max() + 0.5, color=BROKEN, lw=0)
    else:
        square = layers.assign(square=layers.grad_norm**2)
        total = square.groupby("step").square.sum() ** 0.5
        ax.plot(total.index, total, color="0.2", lw=0.8)
        ax.set_yscale("log")
        ax.set_ylabel("gradient norm, all layers")
    last = max(layers.step.max(), steps.step.max() if len(steps) else 0)
    style.whole_axis(ax, "step")
    ax.set_xlim(-0.5, last + 0.5)


def _mark_alerts(
    alerts: pd.DataFrame, axes: dict[str, Axes], layers: pd.DataFrame, blocks: pd.DataFrame
) -> None:
    """A line and its kind where an alert comes, and a ring at its place."""
    strip = axes["e"]
    ends = strip.get_xlim()
    for number, (step, kinds) in enumerate(groups(alerts, "step")):
        strip.axvline(step, color=ALERT, lw=1)
        text = ", ".join(kind.replace("_", " ") for kind in kinds.kind)
        left = step > sum(ends) / 2
        strip.annotate(
            f"{text} ({step})", (step, 1.0 - 0.16 * (number % 5)),
            xycoords=("data", "axes fraction"), xytext=(-3 if left else 3, -1),
            textcoords="offset points", fontsize=6.5, color="#8E3A6B", va="top",
            ha="right" if left else "left", zorder=3,
            bbox={"facecolor": "w", "edgecolor": "none", "alpha": 0.8, "pad": 0.8},
        )  # fmt: skip
    frames = [(layers, "layer", "bc")]
    if len(blocks):
        frames.append((blocks, "block", "ad"))
    for frame, kind, keys in frames:
        places = dict(zip(frame[f"{kind}_name"], frame[f"{kind}_index"], strict=True))
        for step, place in zip(alerts.step, alerts.place, strict=True):
            if place in places:
                for key in keys:
                    for color, width in (("w", 3.2), (ALERT, 1.6)):
                        axes[key].plot(
                            step, places[place], "o", mfc="none", mec=color, mew=width, ms=8,
                            clip_on=False,
                        )  # fmt: skip


def _grid(rows: pd.DataFrame, index: str, value: str) -> pd.DataFrame:
    """Place by step, at most `MOST_COLUMNS` steps."""
    found = np.sort(rows.step.unique())
    chosen = found[np.unique(np.linspace(0, len(found) - 1, MOST_COLUMNS).round().astype(int))]
    rows = rows[rows.step.isin(chosen)].astype({value: float})
    grid: pd.DataFrame = rows.pivot(index=index, columns="step", values=value)
    return grid


def _map(
    grid: pd.DataFrame, *, ax: Axes, norm: Any, cmap: str, absent: pd.DataFrame | None = None
) -> QuadMesh:
    """A cell per place and step; colors of their own for 0, for not finite, for not measured."""
    x, y = _edges(grid.columns.to_numpy(float)), np.arange(len(grid) + 1) - 0.5
    values = grid.to_numpy(float)
    absent_cells = np.zeros(values.shape, bool) if absent is None else absent.to_numpy(bool)
    log = isinstance(norm, LogNorm)
    zero = (values == 0) & log
    broken = ~np.isfinite(values) & ~absent_cells
    if not log:
        absent_cells, broken = absent_cells | np.isnan(values), np.isinf(values)
    good = np.where(zero | broken | absent_cells, np.nan, values)
    mesh = ax.pcolormesh(x, y, good, norm=norm, cmap=cmap, rasterized=True)
    for cells, color in ((absent_cells, ABSENT), (zero, ZERO), (broken, BROKEN)):
        if cells.any():
            shown = np.where(cells, 1.0, np.nan)
            ax.pcolormesh(x, y, shown, cmap=ListedColormap([color]), rasterized=True)
    return mesh


def _edges(steps: Floats) -> Floats:
    if len(steps) < 2:
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    middles = (steps[:-1] + steps[1:]) / 2
    first, last = 2 * steps[0] - middles[0], 2 * steps[-1] - middles[-1]
    return np.concatenate([[first], middles, [last]])


def _log_norm(grid: pd.DataFrame) -> LogNorm:
    """Of all but the outermost percents of the values, at least two decades."""
    values = grid.to_numpy(float)
    values = values[np.isfinite(values) & (values > 0)]
    low, high = np.quantile(values, OUTER) if len(values) else (1e-3, 1.0)
    middle = np.sqrt(low * high)
    return LogNorm(max(min(low, middle / 10), 1e-300), max(high, middle * 10))


def _bar(mesh: QuadMesh, ax: Axes, label: str, **options: Any) -> None:
    figure = cast(Figure, ax.figure)
    figure.colorbar(mesh, ax=ax, label=label, pad=0.015, aspect=14, **options)


def _names(rows: pd.DataFrame, index: str, name: str) -> list[str]:
    named = rows.drop_duplicates(index).sort_values(index)
    return [str(text) for text in named[name]]


def _name_places(ax: Axes, names: list[str]) -> None:
    chosen = np.unique(np.linspace(0, len(names) - 1, min(TICKS, len(names))).round().astype(int))
    ax.set_yticks(chosen, [_short(names[place]) for place in chosen], fontsize=6)
    ax.tick_params(axis="y", length=2, pad=1)


def _short(name: str, longest: int = 20) -> str:
    name = name.replace("end of ", "out ")
    return name if len(name) <= longest else f"…{name[1 - longest :]}"


def _mark_dead(details: pd.DataFrame, ax: Axes) -> None:
    """Crosses where most of a block's ReLU channels are 0 for the whole batch."""
    if len(details):
        dead = details[details.dead_fraction.astype(float) >= 0.5]
        ax.plot(dead.step, dead.block_index, "x", color="w", ms=3, mew=0.8, ls="none")


def _legend(made: Figure) -> None:
    """What the colors outside of the scales mean."""
    handles = [
        Patch(color=BROKEN, label="not finite"),
        Patch(color=ZERO, label="exactly 0"),
        Patch(color=ABSENT, label="not measured"),
        Line2D([], [], ls="none", marker="o", mfc="none", mec=ALERT, mew=1.4, ms=7, label="alert"),
    ]
    made.legend(handles=handles, loc="outside lower left", ncols=4, fontsize=6.5)


def _wrapped(text: str, width: int = 110) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width))
