"""Where the YAML files of the config groups lie, and where a study keeps its commands."""

from pathlib import Path

ROOT = Path(__file__).parents[3]
CONF = ROOT / "conf"
STUDIES = CONF / "study"
COMMANDS = "commands.txt"
"""In a study's folder: the commands that made its runs, one per line."""
