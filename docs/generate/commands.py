"""The page of commands, from the texts that `--help` prints, and that of launchers."""

import re
from pathlib import Path

from gradflow.cli import COMMANDS, HELP


def page() -> str:
    """Every command with its help."""
    lines = [
        "# Commands",
        "",
        "`gradflow COMMAND --help` prints the same text. Keys and their values are on the pages",
        "*Keys of ...*; [how to run a sweep](../how-to/sweep.md) introduces them.",
        "",
        "| command | does | extra |",
        "| --- | --- | --- |",
    ]
    for name, command in COMMANDS.items():
        extra = f"`{command.extra}`" if command.extra else ""
        lines.append(f"| [`gradflow {name}`](#{name}) | {command.does} | {extra} |")
    for name in COMMANDS:
        text = (HELP / f"{name}.txt").read_text().rstrip()
        short, keys, _ = text.partition("\nkeys, with their defaults:")
        lines += ["", f"## `{name}` {{ #{name} }}", "", "```text", short.rstrip(), "```"]
        if keys:
            page_of = "run.md" if COMMANDS[name].keys == "run" else f"run.md#{name}"
            lines += ["", f"Its keys are on [a page of their own]({page_of})."]
    return "\n".join(lines) + "\n"


def launchers(root: Path) -> str:
    """Every key of the launchers, whose meaning stands behind it in conf/hydra/launcher."""
    lines = [
        "# Keys of launchers",
        "",
        "How the runs of a sweep are spread over processes: `hydra/launcher=local` (the default)",
        "or `slurm`; [how to run on a cluster](../how-to/cluster.md). Each key is set as",
        "`hydra.launcher.KEY=VALUE`.",
    ]
    for name in ("local", "slurm"):
        text = (root / "conf" / "hydra" / "launcher" / f"{name}.yaml").read_text()
        about = re.match(r"((?:# .*\n)+)", text)
        lines += ["", f"## `hydra/launcher={name}` {{ #{name} }}", ""]
        lines += [about[1].replace("# ", "").strip() if about else "", ""]
        lines += ["| key | default | meaning |", "| --- | --- | --- |"]
        for key, default, meaning in re.findall(r"^(\w+): *(.*?) *(?:# *(.*))?$", text, re.M):
            if key != "_target_":
                lines.append(f"| `{key}` | `{default}` | {meaning} |")
    return "\n".join(lines) + "\n"
