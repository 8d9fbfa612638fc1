"""Where the YAML files of the config groups lie, and the files of a study beside its runs."""

from pathlib import Path

ROOT = Path(__file__).parents[3]
CONF = ROOT / "conf"
STUDIES = CONF / "study"
COMMANDS = "commands.txt"
"""In a study's folder: the commands that made its runs, one per line."""
JOURNAL = ".search.journal"
"""In a study's folder: what Optuna remembers of its searches."""
