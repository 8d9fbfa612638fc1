"""A working file of your own to begin with, and its test.

gradflow new block my_block      a family with a block of yours       my_block.py
gradflow new network my_net      any torch module, for network=custom  my_net.py
gradflow new data my_data        a data set                            my_data.py
gradflow new study my_study      a sweep                               study/my_study.yaml
"""

import keyword
import shlex
from collections.abc import Sequence
from pathlib import Path
from string import Template

from gradflow.config.conf_folder import STUDIES
from gradflow.config.registry import GROUPS
from gradflow.core.command_line import CommandLine
from gradflow.core.door import one_line
from gradflow.core.errors import GradflowError, shown

TEMPLATES = Path(__file__).parent / "templates"
FILES = {
    "block": "{}.py",
    "network": "{}.py",
    "data": "{}.py",
    "study": "study/{}.yaml",
}
"""Kind -> the file that is written."""
COMMANDS = {
    "block": "gradflow sweep {plugin} network={name} \\\n    network.skip=false,true seed=0,1,2",
    "network": "gradflow sweep network=custom {builder} \\\n"
    "    network.depth=8,14 network.skip=false,true seed=0,1,2",
    "data": "gradflow sweep {plugin} data={name} \\\n    network.skip=false,true seed=0,1,2",
    "study": "gradflow train --config-dir {folder} study={name}",
}
"""Kind -> the command that trains with the file, as it is typed in any shell."""
TAKEN = {"block": "network", "data": "data"}
"""Kind -> the config group in which its name is a choice."""


@one_line()
def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = CommandLine(__doc__, prog="gradflow new")
    parser.add_argument("kind", choices=FILES)
    parser.add_argument("name", help="of the choice, the function and the file")
    parser.add_argument("--folder", type=Path, default=Path(), help="default: this one")
    given = parser.parse_args(arguments)
    main_file, test = write_new(given.kind, given.name, given.folder)
    print(main_file, test, sep="\n")
    print(f"\nits test:\n  python -m pytest {shlex.quote(str(test))}")
    command = command_of(given.kind, given.name, given.folder).replace("\n", "\n  ")
    print(f"train with it, plain and residual:\n  {command}")


def command_of(kind: str, name: str, folder: Path) -> str:
    """The command that trains with a file of `write_new`; quoted, as [ ] is a pattern in zsh."""
    path = folder / FILES[kind].format(name)
    return COMMANDS[kind].format(
        name=name,
        plugin=shlex.quote(f"plugins=[{path}]"),
        builder=shlex.quote(f"network.builder={path}:{name}"),
        folder=shlex.quote(str(folder)),
    )


def write_new(kind: str, name: str, folder: Path) -> list[Path]:
    """Write the file and its test; their paths.

    Raises:
        GradflowError: the name is none of Python's, or is taken; a file is there already. Nothing
            is written then.
    """
    if not name.isidentifier() or keyword.iskeyword(name) or name != name.lower():
        raise GradflowError(
            f"{shown(name)}: must be a lower-case name of Python, such as my_{kind}"
        )
    group = TAKEN.get(kind)
    if (group and name in GROUPS[group]) or (STUDIES / f"{name}.yaml").exists():
        raise GradflowError(
            f"{name}: is the name of a {group or 'study'} of gradflow; take another"
        )
    main_file = folder / FILES[kind].format(name)
    paths = {main_file: kind, folder / f"test_{name}.py": f"{kind}_test"}
    for path in paths:
        if path.exists():
            raise GradflowError(f"{path}: is there already; choose another name or folder")
    values = {"name": name, "Name": name.title().replace("_", ""), "file": main_file.name}
    command = command_of(kind, name, Path())
    for path, template in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        text = (TEMPLATES / f"{template}.template").read_text()
        escaped = command.replace("\\", 2 * "\\")  # in a docstring
        path.write_text(Template(text).substitute(values, command=escaped))
    return list(paths)
