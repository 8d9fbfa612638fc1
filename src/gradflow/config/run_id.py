"""What makes two runs the same run."""

import hashlib
import json
from dataclasses import asdict
from typing import Any

from gradflow.config.diagnostics import DiagnosticConfig
from gradflow.config.run import RunConfig
from gradflow.config.validation import Checked

NOT_IDENTITY = frozenset(
    {
        "study",
        "search",
        # A diagnosis is made of a run when it has ended, at any time, and has an id of its own.
        "diagnostic",
        "output_root",
        "data_folder",
        "checkpoint_seconds",
        "only",
        "dry_run",
        "graph",  # the same kernels in the same order
    }
)
"""Groups and keys that change where or when a run's records are written, but no number in them."""

TWINS = {True: "residual", False: "plain"}
"""What a network with, or without, its skips is called."""


def flatten(config: RunConfig) -> dict[str, Any]:
    """The values that can change a recorded number, as `group_key: scalar`."""
    flat: dict[str, Any] = {}
    for name, value in vars(config).items():
        if name in NOT_IDENTITY:
            continue
        if isinstance(value, Checked):
            flat |= {f"{name}_{key}": scalar for key, scalar in value.recorded().items()}
        else:
            flat[name] = value
    return {
        key: json.dumps(scalar) if isinstance(scalar, list | tuple) else scalar
        for key, scalar in flat.items()
        if key not in NOT_IDENTITY
    }


def run_id(config: RunConfig, data_fingerprint: str) -> str:
    """Twelve hexadecimal digits: equal exactly if all that changes a number is equal."""
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
