"""Where the YAML files of the config groups lie, and the files of a study beside its runs."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
CHECKOUT = PACKAGE.parents[1]
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else CHECKOUT / "conf"
"""In an installed package the wheel's copy; in a checkout the folder at its top."""
STUDIES = CONF / "study"
COMMANDS = "commands.txt"
"""In a study's folder: the commands that made its runs, one per line."""
JOURNAL = ".search.journal"
"""In a study's folder: what Optuna remembers of its searches."""
