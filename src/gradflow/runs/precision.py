"""`dtype=auto`: float32 or bfloat16, whichever takes a run's training steps faster here.

It is decided once for each size of network, batch and machine, before a run has an id, and
kept in <output_root>/.cache/dtypes.json: all seeds, both twins and a study that is started
again go by the same decision. Steps of the residual twin are timed.
"""

import json
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import torch
from filelock import FileLock

from gradflow.config import RunConfig
from gradflow.config.run_id import digest, flatten
from gradflow.core import provenance
from gradflow.core.errors import GradflowError
from gradflow.core.files import atomic_write
from gradflow.core.progress import tell
from gradflow.data.dataset import load_dataset
from gradflow.runs.cost import kind_of
from gradflow.runs.planning import cache_of
from gradflow.runs.timing import steps_of
from gradflow.training.origin import instruction_set
from gradflow.training.torch_settings import prepare_torch

DECISIONS = "dtypes.json"
CHOICES = ("float32", "bfloat16")
SECONDS = 2.0
SHORT = 0.1  # seconds; a step that takes longer is timed on a part of its batch

Times = dict[str, float]


def resolved(config: RunConfig, measure: Callable[[RunConfig], Times] | None = None) -> RunConfig:
    """The config with its `dtype` decided, if that is auto; else as it is.

    Args:
        measure: seconds of a step for each of CHOICES; `step_seconds` unless given.

    Raises:
        GradflowError: the decisions kept before cannot be read, or the data cannot.
    """
    if config.dtype != "auto":
        return config
    facts = _facts(config)
    path = cache_of(config) / DECISIONS
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        decisions = _load(path)
        key = digest(facts)
        if key not in decisions:
            times = (measure or step_seconds)(_residual(config))
            faster = min(CHOICES, key=lambda dtype: times[dtype])
            decisions[key] = {**facts, "seconds": times, "dtype": faster}
            _save(path, decisions)
    decision = decisions[key]
    _tell_once(_line(decision, path))
    return replace(config, dtype=decision["dtype"])


def step_seconds(config: RunConfig) -> Times:
    """Median seconds of a training step in float32 and in bfloat16, in turn for two seconds.

    Of a batch whose step is long only a part is taken, the same for both.
    """
    prepare_torch(replace(config, dtype=CHOICES[0]))
    dataset = load_dataset(config.data, cache_of(config))
    batch = config.data.batch_size
    part = max(2, batch // 8)
    with closing(steps_of(replace(config, dtype=CHOICES[0]), dataset, part)) as steps:
        next(steps)
        step = next(steps) * batch / part
    part = batch if step <= SHORT else max(part, int(batch * SHORT / step))
    with ExitStack() as stack:
        each = {
            dtype: stack.enter_context(
                closing(steps_of(replace(config, dtype=dtype), dataset, part))
            )
            for dtype in CHOICES
        }
        spent = sum(next(steps) for steps in each.values())  # the first step prepares
        taken: dict[str, list[float]] = {dtype: [] for dtype in CHOICES}
        while spent < SECONDS or not taken[CHOICES[0]]:
            for dtype, steps in each.items():
                taken[dtype].append(next(steps))
                spent += taken[dtype][-1]
    return {dtype: median(seconds) * batch / part for dtype, seconds in taken.items()}


def _residual(config: RunConfig) -> RunConfig:
    return replace(config, network=replace(config.network, skip=True), seed=0)


def _facts(config: RunConfig) -> dict[str, Any]:
    """What a decision depends on."""
    facts = dict(kind_of(flatten(config)))
    del facts["dtype"]
    return {
        **facts,
        "network_depth": config.network.depth,
        "machine": provenance.machine(),
        "instruction_set": instruction_set(config.device),
        "torch_version": str(torch.__version__),
    }


def _load(path: Path) -> dict[str, dict[str, Any]]:
    try:
        decisions: dict[str, dict[str, Any]] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise GradflowError(
            f"{path}: the decisions for dtype=auto cannot be read ({error}); delete the file to "
            "have them made again, or give a dtype"
        ) from error
    return decisions


def _save(path: Path, decisions: dict[str, dict[str, Any]]) -> None:
    atomic_write(path, json.dumps(decisions, indent=1))


def _line(decision: dict[str, Any], path: Path) -> str:
    times = ", ".join(f"{d} {1e3 * s:.3g} ms" for d, s in decision["seconds"].items())
    return (
        f"dtype=auto: {decision['dtype']} for network={decision['network_name']} "
        f"network.depth={decision['network_depth']} network.width={decision['network_width']} "
        f"data.batch_size={decision['data_batch_size']} ({times} a step; kept in {path})"
    )


@cache
def _tell_once(line: str) -> None:
    tell(line)
