"""What every figure must be: a checklist on matplotlib's own artists, drawn at its own size."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from gradflow.analysis.figures import style
from gradflow.analysis.figures.slides import Slides
from gradflow.analysis.figures.style import contrast
from gradflow.analysis.output import Output

LEAST = 3.0  # contrast of graphics with their background (WCAG 2.1, 1.4.11)
SLACK = 1.0  # pixels that the boxes of two texts may share, or leave the canvas by
SMALLEST_ON_SLIDES = 14.0  # points
COUNTED = re.compile(r"(layer|step|trial|block|blocks \w+)( \(0: [^,]*\))?|path length.*")
"""Labels of axes of counts and indices; "block (0: first, 1: last)" is of shares."""
GRAYS = 0.02  # spread of red, green and blue: guides and theory, which captions explain


def faults(made: Figure, caption: str, *, slide: bool = False) -> list[str]:
    """What is wrong with a figure, a line each; none if it is fit to print."""
    canvas = FigureCanvasAgg(made)
    canvas.draw()  # type: ignore[no-untyped-call]  # matplotlib has no type here
    texts = [text for text in made.findobj(Text) if text.get_text().strip() and shown(text, made)]
    return [
        *outside(texts, made),
        *overlapping(texts),
        *legends_on_data(made),
        *faint(made, texts),
        *unnamed(made, caption),
        *cut_off(made),
        *between(made),
        *(small(texts) if slide else ()),
    ]


@contextmanager
def checked(*, refuse: bool = False) -> Iterator[dict[str, list[str]]]:
    """Within, every figure that an `Output` writes is checked; gives names with faults.

    refuse: raise AssertionError at the first one, for figures that other processes draw.
    """
    found: dict[str, list[str]] = {}
    write = Output.add_figure

    def write_and_check(output: Output, made: style.Made, name: str, caption: str) -> None:
        write(output, made, name, caption)
        for number, page in enumerate(style.figures_of(made)):
            if wrong := faults(page, caption, slide=isinstance(made, Slides)):
                found[f"{name} {number}"] = wrong
                assert not refuse, f"{name}: {'; '.join(wrong)}"

    Output.add_figure = write_and_check  # type: ignore[assignment,method-assign]  # for the checks alone
    try:
        yield found
    finally:
        Output.add_figure = write  # type: ignore[method-assign]


def shown(text: Text, made: Figure) -> bool:
    """Whether it is drawn: ticks beyond the limits of an axis exist, and are not."""
    if not text.get_visible() or text.get_alpha() == 0:
        return False
    for ax in made.axes:
        axes: tuple[tuple[Any, tuple[float, float]], ...]
        axes = ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim()))
        for axis, low_high in axes:
            ticks = [*axis.majorTicks, *axis.minorTicks]
            tick = next((tick for tick in ticks if text in (tick.label1, tick.label2)), None)
            if tick is not None:
                low, place, high = axis.get_transform().transform(
                    [min(low_high), tick.get_loc(), max(low_high)]
                )
                room = 1e-9 * abs(high - low)
                inside = low - room <= place <= high + room
                return bool(inside and ax.get_visible() and axis.get_visible())
    return True


def outside(texts: list[Text], made: Figure) -> list[str]:
    """Texts that leave the canvas."""
    width, height = made.canvas.get_width_height()
    found = []
    for text in texts:
        box = text.get_window_extent()
        if min(box.x0, box.y0) < -SLACK or box.x1 > width + SLACK or box.y1 > height + SLACK:
            found.append(f"outside the canvas: {text.get_text()!r}")
    return found


def overlapping(texts: list[Text]) -> list[str]:
    """Pairs of texts that lie on one another; turned ones by their own boxes."""
    found = []
    boxes = [(text, text.get_window_extent()) for text in texts]
    for (first, a), (second, b) in combinations(boxes, 2):
        wide = min(a.x1, b.x1) - max(a.x0, b.x0)
        high = min(a.y1, b.y1) - max(a.y0, b.y0)
        if wide > SLACK and high > SLACK and not (turned(first) and turned(second)):
            found.append(f"overlap: {first.get_text()!r} and {second.get_text()!r}")
    return found


def turned(text: Text) -> bool:
    """Whether its box says little about where it is."""
    return text.get_rotation() % 90 != 0


def legends_on_data(made: Figure) -> list[str]:
    """Legends inside of a panel."""
    return [f"legend on the data of {ax.get_title()!r}" for ax in made.axes if ax.get_legend()]


def faint(made: Figure, texts: list[Text]) -> list[str]:
    """Lines, marks and texts with too little contrast to the paper."""
    found = []
    for ax in made.axes:
        for line in ax.get_lines():
            is_line = line.get_linestyle() != "None" and line.get_linewidth() > 0
            color = line.get_color() if is_line else line.get_markeredgecolor()
            if (value := contrast(blended(color, line.get_alpha()), "w")) < LEAST:
                found.append(f"contrast {value:.1f} of line {line.get_label()!r} in {name(ax)}")
    for text in texts:
        in_cell = text.axes is not None and bool(text.axes.collections) and text in text.axes.texts
        if not in_cell and contrast(text.get_color(), "w") < LEAST:
            found.append(f"contrast of {text.get_text()!r}")
    return found


def blended(color: object, alpha: float | None) -> tuple[float, ...]:
    """A color on white."""
    *parts, own = to_rgba(color)  # type: ignore[arg-type]  # as matplotlib gives it
    share = own if alpha is None else alpha
    return tuple(share * part + 1 - share for part in parts)


def cut_off(made: Figure) -> list[str]:
    """Data above or below the limits of their panel."""
    found = []
    for ax in made.axes:
        (left, right), (low, high) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
        reach = 1e-6 * (high - low)
        for line in ax.lines:
            if line.get_transform() != ax.transData:
                continue
            x, y = (np.asarray(values, dtype=float) for values in line.get_data())
            drawn = np.isfinite(y) & (left <= x) & (x <= right)
            drawn &= (y > 0) | (ax.get_yscale() != "log")
            if ((y < low - reach) | (y > high + reach))[drawn].any():
                found.append(f"{line.get_label()} leaves {name(ax)}")
    return found


def between(made: Figure) -> list[str]:
    """Ticks between two layers, blocks or steps, which are counted and have no halves."""
    return [
        f"tick at {place:g} of {axis.get_label_text()!r}"
        for ax in made.axes
        for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim()))
        if COUNTED.fullmatch(axis.get_label_text())
        for place in axis.get_majorticklocs()
        if min(limits) <= place <= max(limits) and place != round(place)
    ]


def unnamed(made: Figure, caption: str) -> list[str]:
    """Colored lines whose color stands in no legend, title or caption; no caption at all."""
    found = [] if caption.strip() else ["no caption"]
    named = {
        to_rgb(handle.get_color())
        for legend in made.legends
        for handle in legend.legend_handles
        if isinstance(handle, Line2D)
    }
    labels = {text.get_text() for legend in made.legends for text in legend.get_texts()}
    for ax in made.axes:
        for line in ax.get_lines():
            color = to_rgb(line.get_color())
            label = str(line.get_label())
            if not label.startswith("_") and not any(f" {t}".endswith(f" {label}") for t in labels):
                found.append(f"{label!r} of {name(ax)} is in no legend")
            if max(color) - min(color) > GRAYS and color not in named:
                found.append(f"a {color} line of {name(ax)} is in no legend")
    return found


def small(texts: list[Text]) -> list[str]:
    """Texts that the last row cannot read."""
    return [
        f"{float(text.get_fontsize()):.0f} points: {text.get_text()!r}"
        for text in texts
        if float(text.get_fontsize()) < SMALLEST_ON_SLIDES
    ]


def name(ax: Axes) -> str:
    """How a panel is called in a fault."""
    return repr(ax.get_title() or ax.get_ylabel() or "a panel")
