"""Train a study by name, or list the studies and the question of each.

gradflow study
gradflow study degradation
gradflow study degradation network.depth=8,20 seed=0,1
"""

import re
import sys

from gradflow.config.conf_folder import STUDIES


def main() -> None:
    """The command line: `gradflow train study=NAME`, with what follows the name."""
    words = sys.argv[1:]
    if not words:
        print("\n".join(f"{name:<22}{question}" for name, question in questions().items()))
        return
    from gradflow.cli import main as run

    name, *others = words
    run(["train", name if name.startswith(("-", "study=")) else f"study={name}", *others])


def questions() -> dict[str, str]:
    """Study -> the first sentence of the comment that its file begins with."""
    found = {}
    for path in sorted(STUDIES.glob("*.yaml")):
        lines = path.read_text().splitlines()
        said = [line.lstrip("# ") for line in lines if re.match("# \\S", line)]
        text = " ".join(line for line in said if not line.startswith("@package"))
        found[path.stem] = re.split(r"(?<=[?.:]) (?=[A-Z])", text)[0]
    return found
