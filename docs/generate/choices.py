"""What each choice of a group is: the first line of its class, or of its file in conf/."""

import inspect
import re
from collections.abc import Mapping
from itertools import takewhile

from gradflow.cli.keys import choices
from gradflow.config.conf_folder import CONF
from gradflow.config.networks import INITIALIZATIONS, NORMS
from gradflow.config.registry import GROUPS


def table(group: str) -> list[str]:
    """The choices of a group."""
    lines = [f"| `{group}=` | what it is |", "| --- | --- |"]
    for name in choices("run", group):
        known = GROUPS[group].get(name) if group in GROUPS else None
        text = _first(inspect.getdoc(known.config)) if known else ""
        if name not in GROUPS.get(group, {}) or not text:
            text = comment(group, name)
        lines.append(f"| `{name}` | {text} |")
    return lines


def scales() -> list[str]:
    """The choices of `scale`."""
    names = sorted(path.stem for path in (CONF / "scale").glob("*.yaml"))
    rows = [f"| `{name}` | {comment('scale', name)} |" for name in names]
    return ["| `scale=` | what it is |", "| --- | --- |", *rows]


def values() -> list[str]:
    """The norms and initializations, in the words of their functions."""
    lines: list[str] = []
    registries: Mapping[str, Mapping[str, object]] = {
        "norm": NORMS,
        "initialization": INITIALIZATIONS,
    }
    for key, registry in registries.items():
        lines += ["", f"## `network.{key}` {{ #{key} }}", "", "| value | what it is |"]
        lines += ["| --- | --- |"]
        lines += [f"| `{name}` | {_first(value.__doc__)} |" for name, value in registry.items()]
    return lines


def comment(group: str, name: str) -> str:
    """The comment that a file of conf/ begins with, without the commands in it; "" if none."""
    path = CONF / group / f"{name}.yaml"
    lines = path.read_text().splitlines() if path.exists() else []
    head = takewhile(lambda line: line.startswith("#"), lines)
    said = [line.removeprefix("# ") for line in head if re.match(r"# [^\s@]", line)]
    return " ".join(said)


def _first(text: str | None) -> str:
    return (text or "").strip().split("\n\n")[0].replace("\n", " ").replace("|", "\\|")
