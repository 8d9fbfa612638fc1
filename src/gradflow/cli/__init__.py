"""The command `gradflow`: each of its commands is a function of the room that does the work.

Nothing heavy is imported before the command is known: help is text that lies beside this file.
"""

import difflib
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gradflow.core.door import one_line
from gradflow.core.errors import shown
from gradflow.core.extras import advice
from gradflow.core.interrupts import leave_at_once

HELP = Path(__file__).parent / "help"
"""A text per command, written by `python -m gradflow.cli.manual`."""


class Command(NamedTuple):
    """A command.

    module: the one whose `main` reads `sys.argv`. does: in a few words. extra: of the
    installation, which has most of what it needs. keys: the file of conf/ whose keys it takes; "":
    none, or those of train. prefix: the words that stand for its name.
    """

    module: str
    does: str
    extra: str = ""
    keys: str = ""
    prefix: tuple[str, ...] = ()


COMMANDS = {
    "train": Command("gradflow.cli.train", "train one network, or a study of many", "sweep", "run"),
    "study": Command("gradflow.cli.study", "train a study by name; without a name: list them"),
    "sweep": Command(
        "gradflow.cli.train", "train every combination of values", "sweep", prefix=("-m",)
    ),
    "tune": Command("gradflow.cli.tune", "search for the best values of any keys", "sweep", "run"),
    "status": Command("gradflow.analysis.status", "how far is a study, what failed", "report"),
    "report": Command(
        "gradflow.analysis.report.page", "the page of a study or of a watched run", "report"
    ),
    "figures": Command("gradflow.analysis.make", "the figures and tables of studies", "report"),
    "verdict": Command(
        "gradflow.analysis.studies.verdict", "what a study shows, by depth, in words", "report"
    ),
    "export": Command("gradflow.analysis.export", "a study's tables as CSV or parquet", "report"),
    "diagnose": Command(
        "gradflow.cli.diagnose", "look closely at trained networks", "sweep", "diagnose"
    ),
    "describe": Command(
        "gradflow.cli.describe", "a network's layers and sizes", "sweep", "describe"
    ),
    "acceptance": Command(
        "gradflow.cli.acceptance", "test the claims; a table", "sweep", "acceptance"
    ),
    "download": Command("gradflow.cli.download", "fetch CIFAR-10", "sweep"),
    "inspect": Command(
        "gradflow.watching.inspect_command", "your network at initialization, in seconds"
    ),
    "coordinates": Command(
        "gradflow.watching.coordinates_command", "do outputs keep their size by width", "report"
    ),
    "compare": Command(
        "gradflow.analysis.compare", "where two watched runs part, layer by layer", "report"
    ),
    "new": Command("gradflow.cli.new", "begin a block, network, data set or study of your own"),
    "completion": Command("gradflow.cli.completion", "completion of all this by your shell"),
}


def usage() -> str:
    """What the program does and its commands, a line each."""
    lines = [f"  {name:<13}{command.does}" for name, command in COMMANDS.items()]
    return "\n".join([INTRODUCTION, *lines, "", "gradflow COMMAND --help: examples, every key"])


INTRODUCTION = """usage: gradflow COMMAND ...

Gradient flow through plain and residual networks, measured: trains networks and their
plain twins, records gradients per layer, and draws the figures and the verdict. Watches
any torch training, too.

  gradflow study degradation                        the degradation study and its report
  gradflow train network.depth=56 network.skip=false
  gradflow sweep network.depth=20,56 seed=0,1,2
  gradflow inspect my_module:make                   your own network

commands:"""


@one_line()
def main(arguments: Sequence[str] | None = None) -> None:
    """The command line: the first argument chooses the command, which takes the others."""
    leave_at_once()
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        print(usage())
        return
    if given[0] == "--version":
        import gradflow

        print(f"gradflow {gradflow.__version__}")
        return
    name, words = given[0], given[1:]
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        sys.exit(f"error: {shown(name)}: no such command; {hint}valid: {', '.join(COMMANDS)}")
    if {"-h", "--help"} & set(words):
        print((HELP / f"{name}.txt").read_text(), end="")
        return
    command, before = COMMANDS[name], sys.argv
    sys.argv = [f"gradflow {name}", *command.prefix, *words]  # Hydra and argparse read it
    try:
        importlib.import_module(command.module).main()
    except ModuleNotFoundError as error:
        if line := advice(sys.argv[0], error, command.extra):
            sys.exit(f"error: {line}")
        raise
    finally:
        sys.argv = before
