"""The lowest versions that pyproject.toml allows, as constraints for pip: `make test-lowest`."""

import re
import tomllib
from pathlib import Path

EXTRAS = ("sweep", "report", "paper", "data")


def lowest() -> dict[str, str]:
    """Distribution -> the lowest version of the core's and the extras' requirements."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for extra in EXTRAS:
        wanted += project["optional-dependencies"][extra]
    found = {}
    for requirement in wanted:
        parsed = re.fullmatch(r"([\w-]+)>=([\d.]+)(,<[\d.]+)?", requirement)
        assert parsed, requirement  # each states its lowest version
        found[parsed[1]] = parsed[2]
    return found


if __name__ == "__main__":
    print("\n".join(f"{name}=={version}" for name, version in sorted(lowest().items())))
