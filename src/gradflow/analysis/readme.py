"""Copy the tables and figures of studies into README.md and docs/, which quote them.

    python analysis/readme.py outputs            # renews those that outputs has
    python analysis/readme.py outputs --check    # lists the changes: exit status 1

A table stands between <!-- table STUDY/NAME --> and <!-- end -->; a figure is an image
docs/figures/NAME.png. docs/tables keeps the tables as they were measured.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from gradflow.config.conf_folder import CHECKOUT
from gradflow.core.command_line import CommandLine
from gradflow.core.door import folder_of, one_line
from gradflow.core.errors import GradflowError
from gradflow.core.files import atomic_write

PAGES = ("README.md", "docs/mechanisms.md", "docs/alerts.md", "docs/coordinates.md")
TABLE = re.compile(r"(<!-- table (\S+)/(\S+) -->\n).*?(<!-- end -->)", re.S)
FIGURE = re.compile(r"figures/(\w+)\.png")


def renewed(page: str, root: Path = CHECKOUT) -> str:
    """A page's text with every marked table as docs/tables has it.

    Raises:
        GradflowError: a marked table is missing.
    """

    def table(match: re.Match[str]) -> str:
        start, study, name, end = match.groups()
        path = root / "docs" / "tables" / study / f"{name}.md"
        if not path.exists():
            raise GradflowError(f"{page}: quotes {path.relative_to(root)}, which is not there")
        rows = [line for line in path.read_text().splitlines() if line.startswith("|")]
        return "\n".join([start.rstrip(), *rows, end])

    return TABLE.sub(table, (root / page).read_text())


def changes(outputs: Path, root: Path = CHECKOUT) -> Iterator[tuple[Path, Path]]:
    """(new file, quoted file) of tables and figures that differ from those in `outputs`."""
    for page in PAGES:
        text = (root / page).read_text()
        quoted = [
            (outputs / study / "tables" / f"{name}.md", root / f"docs/tables/{study}/{name}.md")
            for _, study, name, _ in TABLE.findall(text)
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
        for page in PAGES:
            atomic_write(CHECKOUT / page, renewed(page))
    except GradflowError as error:
        sys.exit(f"error: {error}")
