"""Where the YAML files of the config groups lie."""

from pathlib import Path

ROOT = Path(__file__).parents[3]
CONF = ROOT / "conf"
STUDIES = CONF / "study"
