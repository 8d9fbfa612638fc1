"""What a command of Hydra's reads of its command line before Hydra does.

Words that Hydra would answer with a page of usage, or act upon before any config is checked.
"""

from collections.abc import Sequence
from pathlib import Path

from hydra._internal.utils import get_args_parser

from gradflow.config.plugins_named import CONFIG_PATH
from gradflow.core.command_line import valid_instead
from gradflow.core.errors import GradflowError, shown


def refuse_sweep(arguments: Sequence[str]) -> None:
    """Of a command that does one thing at a time.

    Raises:
        GradflowError: a word asks for a sweep.
    """
    command, *words = arguments
    for word in words:
        if word in ("-m", "--multirun") or word.startswith("hydra.mode"):
            raise GradflowError(f"{word}: {command} does one thing at a time; call it for each")


def check_options(arguments: Sequence[str]) -> None:
    """Hydra would answer with a page of usage.

    Raises:
        GradflowError: there is no such option.
    """
    options = list(get_args_parser()._option_string_actions)
    for word in arguments[1:]:
        known = word.partition("=")[0] in options or (word[:2] in options and word[1:2] != "-")
        if word.startswith("-") and not known:
            raise GradflowError(f"{shown(word)}: {valid_instead(word, options)}")


def from_here(arguments: list[str]) -> None:
    """Change a relative --config-path, which Hydra would look for in this package, to one of the
    folder where the command is typed."""
    for index, word in enumerate(arguments):
        name, equals, value = word.partition("=")
        if name in CONFIG_PATH and equals:
            arguments[index] = f"{name}={Path(value).absolute()}"
        elif name in CONFIG_PATH and index + 1 < len(arguments):
            arguments[index + 1] = str(Path(arguments[index + 1]).absolute())


def check_root(arguments: Sequence[str]) -> None:
    """Hydra makes this folder before any config is checked.

    Raises:
        GradflowError: its name is none.
    """
    for word in arguments[1:]:
        key, _, value = word.partition("=")
        if key == "output_root" and (not value.strip("'\" ") or not value.isprintable()):
            raise GradflowError(f"{word}: must name a folder, with printable characters only")


def roots(arguments: Sequence[str]) -> set[str]:
    """The folder that output_root names, and Hydra's own in it, which some systems do not make."""
    named = [word.partition("=")[2] for word in arguments if word.startswith("output_root=")]
    return {str(path) for root in named for path in (Path(root), Path(root) / ".hydra")}
