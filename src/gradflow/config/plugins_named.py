"""Which plugins a command names: they are imported before its config is composed."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from gradflow.config.conf_folder import STUDIES
from gradflow.core.errors import GradflowError, shown

CONFIG_PATH = ("--config-path", "-cp")


def plugins_named(arguments: Sequence[str]) -> list[str]:
    """The plugins of a command line: of `plugins=`, and of the study's or the run's YAML file.

    Raises:
        GradflowError: `plugins=` is no list.
    """
    named: list[str] = []
    values = dict(word.lstrip("+").partition("=")[::2] for word in arguments[1:] if "=" in word)
    folder, path = _option(arguments, "--config-dir", "-cd"), _option(arguments, *CONFIG_PATH)
    study = f"{values.get('study', '')}.yaml"
    files = [STUDIES / study, *([Path(folder) / "study" / study] if folder else [])]
    if path:
        name = _option(arguments, "--config-name", "-cn") or "config"
        files.append(Path(path) / f"{name}.yaml")
    for file in files:
        if found := _in_file(file):
            named += listed(found, f"{file}: plugins")
    if "plugins" in values:
        override = OverridesParser.create().parse_override(f"plugins={values['plugins']}")
        value = None if override.is_sweep_override() else override.value()
        named += listed(value, "plugins")
    return named


def _option(arguments: Sequence[str], *names: str) -> str | None:
    """The value of an option of Hydra's: --name value, or --name=value."""
    for word, after in pairwise([*arguments, ""]):
        name, equals, value = word.partition("=")
        if name in names:
            return value if equals else after
    return None


def _in_file(file: Path) -> Any:
    try:
        values = yaml.safe_load(file.read_bytes())
    except (OSError, yaml.YAMLError, ValueError):  # Hydra says what is wrong with it
        return None
    return values.get("plugins") if isinstance(values, dict) else None


def listed(value: Any, key: str) -> list[str]:
    """The names that a list holds.

    Raises:
        GradflowError: it is no list of text; `key` is its name for the message.
    """
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise GradflowError(f"{key}={shown(value)}: must be a list, such as [my/norms.py]")
    return value
