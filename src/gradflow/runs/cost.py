"""Seconds of a run from what it computes: multiply-accumulates / rate + layers * overhead + start.

A small network pays for each layer that is launched, a large one for its arithmetic. Both
prices are fitted to times that were measured on this machine, kind of run by kind of run.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from gradflow.data.arrays import EVALUATION_BATCH

HANDLING = 0.2  # seconds of a run beside its training: config, data, files; 0.1 ... 0.4 were seen
PASSES = 3  # of a training step, in forward passes: the backward pass costs about two

NOT_SPEED = frozenset(
    f"network_{name}"
    for name in (
        "skip",
        "depth",
        "initialization",
        "weight_variance",
        "bias_variance",
        "zero_last",
        "branch_scale",
        "shortcut_scale",
        "gate_bias",
    )
)
"""Options of a network that leave the arithmetic of a layer as it is."""

SPEED = ("data_name", "data_batch_size", "data_augment", "task", "device", "dtype", "threads")
"""Other keys that decide how fast a layer is."""

Kind = tuple[tuple[str, Any], ...]


def kind_of(facts: Mapping[str, Any]) -> Kind:
    """What decides the prices of a run, from `identity.flatten` or a row of the runs table.

    Runs of one kind differ in depth, skips, seeds and numbers, not in the shape of a layer.
    """
    keys = sorted(k for k in facts if k.startswith("network_") and k not in NOT_SPEED)
    keys += [*SPEED, "optimizer_name"]
    return tuple((key, facts[key]) for key in keys if not pd.isna(facts[key]))


class Work(NamedTuple):
    """What a run computes."""

    macs: float  # multiply-accumulates
    layers: float  # passes of a batch through a layer
    starts: float = 1  # of a network: it is drawn, and its first step prepares the kernels


def step_work(facts: Mapping[str, Any], macs: int) -> Work:
    """Of one training step; `macs`: of one image's forward pass."""
    return Work(PASSES * macs * facts["data_batch_size"], PASSES * facts["network_depth"], 0)


def run_work(facts: Mapping[str, Any], macs: int, steps: int, splits: Sequence[int]) -> Work:
    """Of a whole run of `steps` steps, its evaluations on splits of so many images included."""
    step = step_work(facts, macs)
    train, test = splits
    given = facts["data_subset"], facts["evaluation_images"]
    subset, images = (math.inf if pd.isna(value) else value for value in given)
    sizes = [[min(train, subset, most), min(test, most)] for most in (images, math.inf)]
    evaluations = math.ceil(steps / facts["evaluation_every"])
    whole = facts.get("evaluation_all_at_end")  # null in a row, absent from a config, unless true
    at_end = int(not pd.isna(whole) and bool(whole))
    times = evaluations - at_end, at_end
    passed = sum(n * sum(size) for n, size in zip(times, sizes, strict=True))
    batches = [sum(math.ceil(n / EVALUATION_BATCH) for n in size) for size in sizes]
    layers = sum(n * count for n, count in zip(times, batches, strict=True))
    return Work(
        steps * step.macs + passed * macs,
        steps * step.layers + layers * facts["network_depth"],
    )


def disk_bytes(depth: int, parameters: int, steps: int, probed: int, detailed: int) -> int:
    """Of an ended run, about: its weights, and compressed rows of each step and layer.

    Args:
        probed, detailed: steps at which gradients are recorded, and the sparse tables.
    """
    rows = 15 * steps + depth * (20 * probed + 60 * detailed)
    return 4 * parameters + rows + 40_000  # the files themselves, one or more per table


class Prices(NamedTuple):
    """Seconds of one of each of `Work`."""

    mac: float
    layer: float
    start: float

    def seconds(self, work: Work) -> float:
        """What some work takes."""
        return self.mac * work.macs + self.layer * work.layers + self.start * work.starts


def fit_prices(timed: Sequence[tuple[Work, float]]) -> Prices:
    """The prices, none negative, with the least relative errors over measured (work, seconds).

    (Lawson and Hanson 1974, chapter 23: non-negative least squares.) Of one network alone
    nobody can tell its layers from its arithmetic: multiply-accumulates have the price then.
    """
    from scipy.optimize import nnls

    rows = np.array([np.array(work) / seconds for work, seconds in timed])
    scale = np.linalg.norm(rows, axis=0)
    scale[scale == 0] = 1.0
    scale *= [1.0, 1 + 1e-6, 1 + 1e-6]  # the column that correlates best enters first
    prices, _ = nnls(rows / scale, np.ones(len(rows)))
    return Prices(*map(float, prices / scale))


def makespan(seconds: Sequence[float], workers: int) -> float:
    """How long `workers` take that each begin the next of these when they are free."""
    free = [0.0] * workers
    for one in seconds:
        free[free.index(min(free))] += one
    return max(free)
