"""The texts of --help: written here once, so that help imports nothing heavy.

python -m gradflow.cli.manual    writes them; a test says when they are no longer true
"""

import importlib
import io
import os
import re
import sys
import textwrap
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from unittest import mock

from gradflow.cli import COMMANDS, HELP
from gradflow.cli.keys import Key, choices, default_choices, keys_of
from gradflow.config.conf_folder import CONF
from gradflow.config.meanings import GROUPS_MEAN
from gradflow.config.registry import GROUPS

WIDTH = 100
COLUMN = 30  # where the meanings begin

OF_HYDRA = """options:
  -m                          sweep: every combination of the values listed, as in seed=0,1,2
  --cfg job                   print the config that the command would use, and do nothing
  --config-dir FOLDER         a folder of your own with studies and other choices
  --hydra-help                Hydra's other options
"""

SWEEP = """Train every combination of values, side by side; then figures and a report.

    gradflow sweep network.depth=20,56 network.skip=false,true seed=0,1,2
    gradflow sweep network.depth=20,56 study.name=mine dry_run=true

The same as `gradflow train -m`; `gradflow train --help` lists the keys. A run that has ended is
not done again, and one that was interrupted resumes.
"""

WITHOUT_KEYS = {
    "study": "study [NAME [KEY=VALUES ...]]",
    "sweep": "sweep KEY=VALUES ...",
    "completion": "completion",
    "download": "download data=cifar10 [data.folder=FOLDER]",
}
"""Command -> its usage, if its help does not list the keys, which are those of train."""


def text_of(name: str) -> str:
    """The help of a command.

    Raises:
        KeyError: there is no such command.
    """
    command = COMMANDS[name]
    module = importlib.import_module(command.module)
    if name in WITHOUT_KEYS:
        said = SWEEP if name == "sweep" else module.__doc__
        return f"usage: gradflow {WITHOUT_KEYS[name]}\n\n{said}"
    if not command.keys:
        return _of_parser(name, module)
    config = command.keys
    options = OF_HYDRA if config == "run" else re.sub("  -m .*\n", "", OF_HYDRA)
    lines = [*_keys(config), *(_of_files() if config == "run" else ())]
    return "\n".join(
        [f"usage: gradflow {name} [KEY=VALUE ...]\n", str(module.__doc__), options, *lines, ""]
    )


def _of_parser(name: str, module: object) -> str:
    """What argparse prints."""
    given = mock.patch.object(sys, "argv", [f"gradflow {name}", "--help"])
    wide = mock.patch.dict(os.environ, {"COLUMNS": str(WIDTH)})
    with redirect_stdout(io.StringIO()) as printed, suppress(SystemExit), given, wide:
        module.main()  # type: ignore[attr-defined]  # of each command's module
    return printed.getvalue()


def _keys(config: str) -> Iterator[str]:
    yield "keys, with their defaults:"
    group = ""
    for key in keys_of(config):
        if key.group != group and key.group in GROUPS:
            group = key.group
            chosen = default_choices(config).get(group, "")
            named = ", ".join(choices(config, group))
            yield f"\n{_row(f'{group}={chosen}', f'{GROUPS_MEAN[group]}: {named}', indent=0)}"
        yield _row(f"{key.full_name}={key.default}", _said(key, config))


def _said(key: Key, config: str) -> str:
    few = key.choices and default_choices(config).get(key.group) not in key.choices
    of = f"; {' and '.join(key.choices)} only" if few else ""
    return f"{key.meaning} [{key.valid}{of}]"


def _of_files() -> Iterator[str]:
    """The groups that are files without a class: studies, scales, launchers, sweepers."""
    yield "\n" + _row("study=NAME", "a sweep; `gradflow study` lists them", indent=0)
    scales = ", ".join(path.stem for path in sorted((CONF / "scale").glob("*.yaml")))
    yield _row("scale=small", f"steps, data and rates of a study: {scales}", indent=0)
    for path in sorted((CONF / "hydra").glob("*/*.yaml")):
        first, *lines = path.read_text().splitlines()
        yield "\n" + _row(f"hydra/{path.parent.name}={path.stem}", first.lstrip("# "), indent=0)
        for line in lines:
            if found := re.fullmatch(r"(\w+): *(.*?) +# (.*)", line):
                yield _row(f"hydra.{path.parent.name}.{found[1]}={found[2]}", found[3])


def _row(name: str, said: str, indent: int = 2) -> str:
    first = f"{' ' * indent}{name}".ljust(COLUMN)
    if not first.endswith(" "):
        first += "\n" + " " * COLUMN
    return textwrap.fill(
        said, WIDTH, initial_indent=" " * COLUMN, subsequent_indent=" " * COLUMN
    ).replace(" " * COLUMN, first, 1)


def write() -> None:
    """Write every command's text."""
    HELP.mkdir(exist_ok=True)
    for name in COMMANDS:
        (HELP / f"{name}.txt").write_text(text_of(name))


if __name__ == "__main__":
    write()
