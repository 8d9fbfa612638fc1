"""Copy the tables, numbers and figures of studies into README.md and the pages of docs/.

    python analysis/readme.py outputs            # renews those that outputs has
    python analysis/readme.py outputs --check    # lists the changes: exit status 1

On a page, a table stands between <!-- table STUDY/NAME --> and <!-- end -->; a number between
<!-- number STUDY/NAME "FIRST, CELLS, OF ITS ROW" "COLUMN" --> and <!-- end -->; a figure is an
image docs/figures/NAME.png. docs/tables keeps the tables as they were measured.
"""

import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from gradflow.config.conf_folder import CHECKOUT
from gradflow.core.command_line import CommandLine
from gradflow.core.door import folder_of, one_line
from gradflow.core.errors import GradflowError
from gradflow.core.files import atomic_write

TABLE = re.compile(r"(<!-- table (\S+)/(\S+) -->\n).*?(<!-- end -->)", re.S)
NUMBER = re.compile(r'(<!-- number (\S+)/(\S+) "([^"]*)"\s+"([^"]*)" -->)(.*?)(<!-- end -->)', re.S)
MARKER = re.compile(r"<!-- (?:table|number)\b")
FIGURE = re.compile(r"figures/(\w+)\.png")


def pages(root: Path = CHECKOUT) -> list[str]:
    """README.md and every page of docs/, by path: the one list of them."""
    found = (path.relative_to(root).as_posix() for path in (root / "docs").rglob("*.md"))
    others = ("docs/tables/", "docs/paper/")
    return ["README.md", *sorted(page for page in found if not page.startswith(others))]


def renewed(page: str, root: Path = CHECKOUT) -> str:
    """A page's text with every marked table and number as docs/tables has it.

    Raises:
        GradflowError: a marker names a table, row or column that is not there, or is not closed.
    """
    text = (root / page).read_text()
    text = TABLE.sub(partial(_table, page, root), text)
    text = NUMBER.sub(partial(_number, page, root), text)
    known = len(TABLE.findall(text)) + len(NUMBER.findall(text))
    if known != len(MARKER.findall(text)):
        raise GradflowError(f"{page}: has a marker that is no whole table or number")
    return text


def _rows(page: str, root: Path, study: str, name: str) -> list[str]:
    path = root / "docs" / "tables" / study / f"{name}.md"
    if not path.exists():
        raise GradflowError(f"{page}: quotes {path.relative_to(root)}, which is not there")
    return [line for line in path.read_text().splitlines() if line.startswith("|")]


def _table(page: str, root: Path, match: re.Match[str]) -> str:
    start, study, name, end = match.groups()
    return "\n".join([start.rstrip(), *_rows(page, root, study, name), end])


def _number(page: str, root: Path, match: re.Match[str]) -> str:
    start, study, name, row, column, _, end = match.groups()
    lines = (line.strip("|").split(" | ") for line in _rows(page, root, study, name))
    header, _, *rows = ([cell.strip(" *") for cell in line] for line in lines)
    wanted = row.split(", ")
    found = [cells for cells in rows if cells[: len(wanted)] == wanted]
    if len(found) != 1 or column not in header:
        raise GradflowError(f"{page}: {study}/{name} has no one number at {row!r}, {column!r}")
    return f"{start}{found[0][header.index(column)]}{end}"


def changes(outputs: Path, root: Path = CHECKOUT) -> Iterator[tuple[Path, Path]]:
    """(new file, quoted file) of tables and figures that differ from those in `outputs`."""
    for page in pages(root):
        text = (root / page).read_text()
        quoted = [
            (outputs / study / "tables" / f"{name}.md", root / f"docs/tables/{study}/{name}.md")
            for _, study, name, *_ in (*TABLE.findall(text), *NUMBER.findall(text))
        ]
        for name in FIGURE.findall(text):
            # By its own name, or by that of a study which has one figure.
            made = [*outputs.glob(f"*/figures/{name}.png")]
            made = made or [*outputs.glob(f"{name}/figures/*.png")]
            if len(made) == 1:
                quoted.append((made[0], root / "docs" / "figures" / f"{name}.png"))
        for new, old in quoted:
            if new.exists() and (not old.exists() or new.read_bytes() != old.read_bytes()):
                yield new, old


@one_line()
def main() -> None:
    """The command line."""
    parser = CommandLine(__doc__)
    parser.add_argument("outputs", type=folder_of, help="the folder of all studies")
    parser.add_argument("--check", action="store_true", help="change nothing")
    arguments = parser.parse_args()
    found = list(dict.fromkeys(changes(arguments.outputs)))
    for new, quoted in found:
        print(f"{quoted.relative_to(CHECKOUT)}: {new}")
        if not arguments.check:
            quoted.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(quoted, new.read_bytes())
    if arguments.check:
        sys.exit(1 if found else 0)
    try:
        for page in pages():
            atomic_write(CHECKOUT / page, renewed(page))
    except GradflowError as error:
        sys.exit(f"error: {error}")
