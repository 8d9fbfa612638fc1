"""Which analyses a study gets: those that it names, and those that what was swept asks for."""

import importlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from gradflow.analysis.swept import is_numeric, swept_keys
from gradflow.config.conf_folder import JOURNAL, STUDIES
from gradflow.config.saved import read_config
from gradflow.core.errors import GradflowError
from gradflow.runs.status import CONFIG

TABLES = ("verdict",)
FEW = 16  # values of a key, of more of which a heatmap cannot be read

NETWORKS, RESIDUAL, TWINS = "networks", "residual networks", "twins"
KEY, NUMERIC, SEVERAL, SEARCH = "a key", "a numeric key", "several keys", "a search"

SHOWN_BY = (
    (SEARCH, ("search",)),
    (NETWORKS, ("degradation", "gradient_highway")),
    (RESIDUAL, ("ledger",)),
    (TWINS, ("verdict",)),
    (KEY, ("every_run",)),
    (NUMERIC, ("best_value",)),
    (SEVERAL, ("importance",)),
)
"""What a study has, and the modules of gradflow.analysis.studies that show it."""


def analyses_of(folder: Path, runs: pd.DataFrame) -> dict[str, bool]:
    """The analysis scripts of a study with ended runs, and whether the study names them.

    A study that names its analyses gets the inferred ones for keys that no figure of theirs
    shows; the verdict shows all, in tables.
    """
    named = named_analyses(folder)
    shown: set[str] = set()
    for name in named:
        if name not in TABLES:
            with suppress(Exception):  # a module that cannot be imported fails when it is run
                shown |= set(shown_keys(name))
    keys = [key for key in swept_keys(runs) if key not in shown]
    has = _of_keys(runs, keys)
    if (folder / JOURNAL).exists():
        has |= {SEARCH}
    elif not named:
        has |= _of_networks(runs)
    inferred = [name for word, names in SHOWN_BY if word in has for name in names]
    return dict.fromkeys(named, True) | {name: False for name in inferred if name not in named}


def _of_keys(runs: pd.DataFrame, keys: Sequence[str]) -> set[str]:
    numeric = any(is_numeric(runs[key]) and runs[key].nunique() <= FEW for key in keys)
    facts = {KEY: bool(keys), NUMERIC: numeric, SEVERAL: len(keys) > 1}
    return {word for word, holds in facts.items() if holds}


def _of_networks(runs: pd.DataFrame) -> set[str]:
    skips = set(runs.network_skip)
    return {NETWORKS} | ({RESIDUAL} if True in skips else set()) | (
        {TWINS} if len(skips) == 2 else set()
    )  # fmt: skip


def shown_keys(script: str) -> tuple[str, ...]:
    """The swept keys that a script's figures show as series, facets or rows."""
    module = importlib.import_module(f"gradflow.analysis.studies.{script}")
    keys: tuple[str, ...] = getattr(module, "SWEPT", ())
    return keys


def named_analyses(folder: Path) -> list[str]:
    """The analysis scripts that a study's first and last run name (a thousand configs take
    seconds to read), and those that the study of its name names in conf/."""
    names: dict[str, None] = {}
    configs = sorted(folder.glob(f"*/{CONFIG}"), key=lambda path: path.stat().st_mtime_ns)
    found = [next(filter(None, map(_study_of, ends)), {}) for ends in (configs, configs[::-1])]
    own = STUDIES / f"{folder.name}.yaml"
    if own.exists():
        found.append(yaml.safe_load(own.read_text()).get("study") or {})
    for study in found:
        names |= dict.fromkeys(study.get("analysis") or ())
    return list(names)


def _study_of(config: Path) -> dict[str, Any]:
    """The study that a run's config names; empty if the config is damaged."""
    try:
        return read_config(config).get("study") or {}
    except GradflowError:
        return {}
