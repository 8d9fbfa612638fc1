"""The gallery: its pages are docs/gallery/STUDY.md, whose front matter is the data of a study."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

FOLDER = Path(__file__).parents[1] / "gallery"
FACTS = ("study", "time", "setting")
"""What the front matter must have; `command` is optional, and so is `measured: false` of a study
that has no figure yet."""


class Entry(NamedTuple):
    """A page of the gallery: its file, front matter, question and first figure ("": none yet)."""

    path: Path
    facts: Mapping[str, Any]
    question: str
    figure: str


def entries() -> list[Entry]:
    """Every page but the index.

    Raises:
        ValueError: a page lacks a fact, its question or its figure.
    """
    return [_entry(path) for path in sorted(FOLDER.glob("*.md")) if path.name != "index.md"]


def _entry(path: Path) -> Entry:
    _, front, text = path.read_text().split("---\n", 2)
    facts = yaml.safe_load(front)
    lacking = [name for name in FACTS if not facts.get(name)]
    question = re.search(r"^# (.+)$", text, re.M)
    figure = re.search(r"!\[[^\]]*\]\((\S+\.png)\)", text)
    has_figure = figure is not None or facts.get("measured") is False
    if lacking or not question or not has_figure or facts["study"] != path.stem:
        raise ValueError(f"{path}: needs {', '.join(FACTS)}, a question as its title and a figure")
    return Entry(path, facts, question[1], figure[1] if figure else "")


def command(facts: Mapping[str, Any]) -> str:
    """What runs the study."""
    return str(facts.get("command", f"gradflow study {facts['study']}"))


def with_facts(text: str, facts: Mapping[str, Any]) -> str:
    """A page with its command, time and setting below its title."""
    box = (
        f"```sh\n{command(facts)}\n```\n\n"
        f'<div class="facts" markdown>\n**Time:** {facts["time"]}  \n'
        f"**Setting:** {facts['setting']}\n</div>\n"
    )
    return re.sub(r"^(# .+\n)", lambda title: f"{title[1]}\n{box}", text, count=1, flags=re.M)


def grid(order: Sequence[str]) -> str:
    """The index: a card for each study with its figure, question and time.

    Args:
        order: of the studies.
    """
    cards = [
        f"- {_picture(entry)}\n\n"
        f"    [{entry.question}]({entry.path.name})\n\n"
        f"    `{entry.facts['study']}` · {entry.facts['time']}\n"
        for entry in sorted(entries(), key=lambda entry: order.index(entry.path.stem))
    ]
    return '<div class="gallery" markdown>\n\n' + "\n".join(cards) + "\n</div>\n"


def _picture(entry: Entry) -> str:
    return f"[![]({entry.figure})]({entry.path.name})" if entry.figure else "*Not measured yet.*"
