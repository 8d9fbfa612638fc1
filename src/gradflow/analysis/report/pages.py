"""Self-contained pages: templates filled in, a study's figures and tables put into them."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
PIXELS_PER_POINT = 4 / 3  # of CSS


@dataclass(frozen=True)
class EmbeddedFigure:
    """A figure as a page holds it.

    source: the whole file as a data URI. An image of its own, rather than SVG among the page's
    elements, keeps its ids and style rules to itself and is as sharp at any size.
    """

    title: str
    caption: str
    notes: tuple[str, ...]
    source: str
    width: int
    height: int


def render(template: str, **facts: Any) -> str:
    """A page from a template; facts are escaped, unless they are Markup."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**facts)


def html_of(markdown: str) -> Markup:
    """Markdown with tables as HTML; HTML inside of it is shown as text."""
    return Markup(MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown))


def plotly_script() -> Markup:
    """plotly.js from the Python package."""
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs())


def title_of(name: str) -> str:
    """A file's name as a heading."""
    return name.replace("_", " ").capitalize()


def embedded_tables(folder: Path, left_out: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The Markdown tables of a study's folder as HTML."""
    return [
        {"title": title_of(path.stem), "html": html_of(path.read_text())}
        for path in sorted(folder.glob("tables/*.md"))
        if path.stem not in left_out
    ]


def embedded_figures(
    folder: Path, runs: Sequence[str], notes: Sequence[str]
) -> list[EmbeddedFigure]:
    """The figures of a study's folder with their captions, as SVG if there is one.

    A figure's own notes follow its caption, without those on the page already; so does a note
    if the figure was made from other runs than the study has now.
    """
    found = []
    for path in sorted(folder.glob("figures/*.json")):
        facts = json.loads(path.read_text())
        image = next((p for p in map(path.with_suffix, (".svg", ".png")) if p.exists()), None)
        if image is None:
            continue
        own = [note for note in facts["notes"] if note not in notes]
        if lost := len(set(runs) - set(facts.get("every_run", facts["runs"]))):
            own.append(f"made without {lost} of the study's {len(runs)} ended runs")
        width, height = _size(image)
        found.append(
            EmbeddedFigure(
                title_of(path.stem), facts["caption"], tuple(own), _data_uri(image), width, height
            )
        )
    return found


def _data_uri(image: Path) -> str:
    kind = {".svg": "image/svg+xml", ".png": "image/png"}[image.suffix]
    return f"data:{kind};base64,{base64.b64encode(image.read_bytes()).decode()}"


def _size(image: Path) -> tuple[int, int]:
    """Width and height in pixels of a page, so that nothing moves when the image loads."""
    if image.suffix == ".svg":
        root = ElementTree.parse(image).getroot()
        points = [float(root.attrib[name].removesuffix("pt")) for name in ("width", "height")]
        return round(points[0] * PIXELS_PER_POINT), round(points[1] * PIXELS_PER_POINT)
    head = image.read_bytes()[16:24]  # of a PNG: width and height, big-endian
    return int.from_bytes(head[:4]), int.from_bytes(head[4:])
