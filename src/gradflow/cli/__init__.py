"""The command `gradflow`: each of its commands is a function of the room that does the work."""

import importlib
import sys
from collections.abc import Sequence

from gradflow.core.errors import shown

COMMANDS = {
    "report": ("gradflow.analysis.report.page", "the page of a watched run, or of a study"),
    "compare": ("gradflow.analysis.compare", "where two watched runs part, layer by layer"),
    "inspect": ("gradflow.watching.inspect_command", "a network at initialization, in seconds"),
    "new": ("gradflow.cli.new", "a block, network, data set or study of your own, and its test"),
    "coordinates": ("gradflow.watching.coordinates_command", "do outputs keep their size by width"),
}
"""Command -> the module whose `main` takes its arguments, and what it gives."""


def usage() -> str:
    """The commands, a line each."""
    lines = [f"  {name:<13}{text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(["usage: gradflow COMMAND ...", "", *lines, "", "gradflow COMMAND --help"])


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: the first argument chooses the command, which takes the others."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        print(usage())
        return
    if given[0] not in COMMANDS:
        sys.exit(f"error: {shown(given[0])}: choose a command among {', '.join(COMMANDS)}")
    importlib.import_module(COMMANDS[given[0]][0]).main(given[1:])
