"""What stands on the pages: shell commands, Python blocks, console sessions, links."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from gradflow.analysis import readme

ROOT = Path(__file__).parents[2]
PAGES = readme.pages()
PROGRAMS = "gradflow|python|make|pip|pytest"


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page in a language; "": in none."""
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(page), re.S | re.M)


def lines_of(page: str) -> Iterator[list[str]]:
    """The commands of a page's shell blocks, in words; a line that ends in \\ goes on."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words


def named(page: str) -> Iterator[list[str]]:
    """The commands that a page names in its text and tables."""
    text = re.sub(r"^```.*?^```", "", text_of(page), flags=re.S | re.M)
    for command in re.findall(rf"`((?:{PROGRAMS}) [^`]+)`", text):
        yield shlex.split(command)


def sessions(page: str) -> list[tuple[list[str], str]]:
    """Commands that are shown with their answer: (words, the line below)."""
    found = re.findall(r"^\$ (.+)\n(.+)$", "\n".join(blocks(page, "")), re.M)
    return [(shlex.split(command), answer) for command, answer in found]
