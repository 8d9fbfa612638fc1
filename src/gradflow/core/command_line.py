"""The options of a command: help that keeps its layout, and refusals of one line."""

import argparse
import difflib
import sys
from pathlib import Path
from typing import NoReturn

from gradflow.core.errors import shown


class CommandLine(argparse.ArgumentParser):
    """argparse's parser; a mistake is `error: ...` with what would be valid, and exit status 2.

    Args:
        description: for --help, shown as it is.
        prog: the command's name; None: the first word of the command line.
    """

    def __init__(self, description: str | None, prog: str | None = None):
        super().__init__(
            prog=prog or Path(sys.argv[0]).name,
            description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        """End the process with the message and the options that there are."""
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            message = (
                f"{shown(unknown)}: {valid_instead(unknown, list(self._option_string_actions))}"
            )
        elif message.startswith("the following arguments are required"):
            message += f"; {self.prog} --help"
        self.exit(2, f"error: {message}\n")


def valid_instead(unknown: str, options: list[str]) -> str:
    """That there is no such option, the one that is nearest, and all.

    A word that is no option is one too many.
    """
    if not unknown.startswith("-"):
        return "one argument too many; put quotes around a name that has spaces"
    long = sorted(option for option in options if option.startswith("--"))
    near = difflib.get_close_matches(unknown.partition("=")[0].split(" ")[0], long, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"no such option; {hint}valid: {', '.join(long)}"
