"""Self-contained pages: templates filled in, a study's figures and tables put into them."""

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
PIXELS_PER_POINT = 4 / 3  # of CSS
ROOM = 1_200_000  # bytes of figures in a page, which opens at once and can be sent by mail


@dataclass(frozen=True)
class EmbeddedFigure:
    """A figure as a page holds it.

    source: the whole file as a data URI, or a link to it if the page has no room. An image of
    its own, rather than SVG among the page's elements, keeps its ids and style rules to itself
    and is as sharp at any size.
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
    folder: Path, runs: Sequence[str], notes: Sequence[str], order: Sequence[str] = ()
) -> list[EmbeddedFigure]:
    """The figures of a study's folder with their captions, as SVG if there is one.

    Those of `order` come first, in that order, then the others by name. What the page has no
    room for is a link to the file.

    A figure's own notes follow its caption, without those on the page already; so does a note
    if the figure was made from other runs than the study has now.
    """
    found = []
    room = ROOM
    places = {name: place for place, name in enumerate(order)}
    paths = sorted(folder.glob("figures/*.json"))
    for path in sorted(paths, key=lambda path: places.get(path.stem, len(places))):
        facts = json.loads(path.read_text())
        image = next((p for p in map(path.with_suffix, (".svg", ".png")) if p.exists()), None)
        if image is None:
            continue
        own = [note for note in facts["notes"] if note not in notes]
        if lost := len(set(runs) - set(facts.get("every_run", facts["runs"]))):
            own.append(f"made without {lost} of the study's {len(runs)} ended runs")
        source = _data_uri(image)
        room -= len(source)
        if room < 0:
            source = f"./{quote(str(image.relative_to(folder)))}"
        title = title_of(path.stem)
        found.append(EmbeddedFigure(title, facts["caption"], tuple(own), source, *_size(image)))
    return found


def _data_uri(image: Path) -> str:
    """The whole image; of an SVG with coordinates to a hundredth of a point, which none sees."""
    if image.suffix == ".png":
        return f"data:image/png;base64,{base64.b64encode(image.read_bytes()).decode()}"
    text = COORDINATES.sub(lambda found: LONG_NUMBER.sub(_hundredths, found[0]), image.read_text())
    text = re.sub(r"\s+", " ", text[text.index("<svg") :])
    return f"data:image/svg+xml,{quote(text, safe=SAFE)}"


COORDINATES = re.compile(r' (d|x|y)="[^"]*"')
LONG_NUMBER = re.compile(r"\d+\.\d{3,}")
SAFE = " /:;=?@!$()*+,~"  # in a data URI; fewer letters than base64


def _hundredths(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _size(image: Path) -> tuple[int, int]:
    """Width and height in pixels of a page, so that nothing moves when the image loads."""
    if image.suffix == ".svg":
        root = ElementTree.parse(image).getroot()
        points = [float(root.attrib[name].removesuffix("pt")) for name in ("width", "height")]
        return round(points[0] * PIXELS_PER_POINT), round(points[1] * PIXELS_PER_POINT)
    head = image.read_bytes()[16:24]  # of a PNG: width and height, big-endian
    return int.from_bytes(head[:4]), int.from_bytes(head[4:])
