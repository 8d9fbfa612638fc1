"""What makes two runs the same run."""

import hashlib
import json
from dataclasses import asdict
from typing import Any

from gradflow.config.diagnostics import DiagnosticConfig
from gradflow.config.plugins import codes_of
from gradflow.config.run import RunConfig
from gradflow.config.validation import Checked

NOT_IDENTITY = frozenset(
    {
        "study",
        "search",
        # A diagnosis is made of a run when it has ended, at any time, and has an id of its own.
        "diagnostic",
        "output_root",
        # Where the data lie, and what reads them; the data themselves have a fingerprint.
        "data_folder",
        "data_file",
        "data_dataset",
        "data_arguments",
        "checkpoint_seconds",
        "only",
        "resume",
        "dry_run",
        "graph",  # the same kernels in the same order
    }
)
"""Groups and keys that change where or when a run's records are written, but no number in them."""

TWINS = {True: "residual", False: "plain"}
"""What a network with, or without, its skips is called."""


def flatten(config: RunConfig) -> dict[str, Any]:
    """The values that can change a recorded number, as `group_key: scalar`."""
    values = by_key(config)
    # Where a plugin lies is of no matter, its code is; ids of runs without any stay as they were.
    if codes := codes_of(values.pop("plugins")):
        values["plugins"] = codes
    flat = {
        key.replace(".", "_"): value
        for key, value in values.items()
        if key.partition(".")[0] not in NOT_IDENTITY
    }
    return {
        key: json.dumps(value, sort_keys=True) if isinstance(value, list | tuple | dict) else value
        for key, value in flat.items()
        if key not in NOT_IDENTITY
    }


def by_key(config: RunConfig) -> dict[str, Any]:
    """Every value of a config by its key on the command line, such as network.depth."""
    values: dict[str, Any] = {}
    for name, value in vars(config).items():
        if isinstance(value, Checked):
            values |= {f"{name}.{key}": scalar for key, scalar in value.recorded().items()}
        else:
            values[name] = value
    return values


def run_id(config: RunConfig, data_fingerprint: str) -> str:
    """Twelve hexadecimal digits: equal exactly if all that changes a number is equal.

    Raises:
        ValueError: `dtype` is still auto, which says nothing about the numbers.
    """
    if config.dtype == "auto":
        raise ValueError("dtype=auto is resolved before a run has an id: gradflow.runs.precision")
    return digest(flatten(config) | {"data_fingerprint": data_fingerprint})


def diagnostic_id(config: DiagnosticConfig) -> str:
    """Twelve hexadecimal digits: equal if all that changes a diagnosis of a run is equal."""
    return digest(settings_of(config))


def settings_of(config: DiagnosticConfig) -> dict[str, Any]:
    """What says how a diagnosis is made: `name`, and all options as one JSON text."""
    options = {k: v for k, v in asdict(config).items() if k not in ("name", "at")}
    return {"name": config.name, "options": json.dumps(options, sort_keys=True)}


def digest(facts: dict[str, Any]) -> str:
    """Twelve hexadecimal digits of facts by name, whatever their order."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def run_name(depth: int, skip: bool, seed: int) -> str:
    """A short name for people, such as plain-56 seed 0."""
    return f"{TWINS[skip]}-{depth} seed {seed}"
