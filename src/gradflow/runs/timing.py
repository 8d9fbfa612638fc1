"""How long a training step takes on this machine: a run's own steps, timed on a network apart.

Of a single-threaded run on a CPU processor time is taken, which other load on the machine
does not change; else the time that passes.
"""

import os
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import torch

from gradflow.config import RunConfig
from gradflow.config.probes import OffConfig
from gradflow.core.interrupts import end_with_parent
from gradflow.core.seeds import seeded
from gradflow.data.batches import Normalizer, training_batches
from gradflow.data.dataset import Dataset, load_dataset
from gradflow.probes import Probes
from gradflow.records import RecordWriter
from gradflow.runs.planning import cache_of
from gradflow.training.optimizers import build_optimizer
from gradflow.training.recorder import Recorder
from gradflow.training.step import EagerStep
from gradflow.training.tasks import in_precision, network_of, placed, task_of
from gradflow.training.torch_settings import prepare_torch, weights_dtype

WITHOUT_END = 2**40  # steps
MEETING_SECONDS = 300.0  # for every process to import torch


class Timed(NamedTuple):
    """Seconds of the steps of one network."""

    config: RunConfig
    start: float  # to draw the network and take its first step
    step: float  # mean of the steps after the first


def steps_of(config: RunConfig, dataset: Dataset, batch_size: int) -> Generator[float]:
    """Train a network apart, and yield the seconds of each step; the first draws the network.

    Nothing is recorded, and torch's global random state stays as it was.
    """
    clock = _clock(config)
    began = clock()
    dataset = dataset.to(config.device)
    network = network_of(config, dataset.image_shape, dataset.classes)
    network = placed(network, config, weights_dtype(config)).train()
    task = in_precision(task_of(config.network, config.task), config)
    optimizer = build_optimizer(config.optimizer, network)
    batches = training_batches(
        dataset,
        Normalizer(dataset.train_images[:batch_size], weights_dtype(config)),
        batch_size=batch_size,
        augment=config.data.augment,
        seed=config.seed,
        first_step=0,
        steps=WITHOUT_END,
    )
    with Probes(network, optimizer) as probes:
        unused = RecordWriter(Path(os.devnull), "timing")  # nothing is added, nothing written
        step = EagerStep(
            network, task, optimizer, Recorder(unused, probes), config.optimizer.clip_norm
        )
        for number, _, images, labels in batches:
            with torch.random.fork_rng(devices=[]):  # of dropout
                step(images, labels, seeded(config.seed, "noise", number))
            yield clock() - began
            began = clock()


def _clock(config: RunConfig) -> Callable[[], float]:
    if config.device == "cpu":
        return time.process_time if config.threads == 1 else time.perf_counter

    def synchronized() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return synchronized


def time_steps(config: RunConfig, dataset: Dataset, seconds: float) -> Timed:
    """The start, and steps for about `seconds`, at least two."""
    with closing(steps_of(config, dataset, config.data.batch_size)) as steps:
        start = next(steps)
        taken = [next(steps), next(steps)]
        while start + sum(taken) < seconds:
            taken.append(next(steps))
    return Timed(config, start, mean(taken))


def time_kinds(kinds: Sequence[Sequence[tuple[RunConfig, int]]], seconds: float) -> list[Timed]:
    """Time a small and a larger network of each kind, for about `seconds` in all.

    Args:
        kinds: networks with their multiply-accumulates; the smallest is timed, and the
            largest that has a time to start and two steps more.
    """
    found = []
    for kind in kinds:
        smallest, *others = sorted(kind, key=lambda pair: pair[1])
        prepare_torch(smallest[0])
        dataset = load_dataset(smallest[0].data, cache_of(smallest[0]))
        share = seconds / len(kinds)
        small = time_steps(smallest[0], dataset, share / 3)
        found.append(small)
        left = share - max(share / 3, small.start + 2 * small.step)
        cost = (small.start + 2 * small.step) / smallest[1]
        fitting = [config for config, macs in others if macs * cost <= left]
        if fitting:
            found.append(time_steps(fitting[-1], dataset, left))
    return found


def time_side_by_side(
    kinds: Sequence[Sequence[tuple[RunConfig, int]]], workers: int, seconds: float = 2.0
) -> list[Timed]:
    """As `time_kinds`, by as many processes at once as will share the machine's memory then."""
    count = min(workers, os.cpu_count() or 1)
    if count == 1:
        return time_kinds(kinds, seconds)
    # The classes of `details` are made when the package is imported, and cannot be sent.
    kinds = [[(replace(config, details=OffConfig()), macs) for config, macs in k] for k in kinds]
    context = get_context("spawn")
    meeting = context.Barrier(count)
    with ProcessPoolExecutor(count, context, initializer=_meet, initargs=(meeting,)) as pool:
        found = pool.map(time_kinds, [kinds] * count, [seconds] * count)
        return [timed for one in found for timed in one]


def _meet(barrier: Any) -> None:
    """Wait until every process has imported torch."""
    end_with_parent()
    barrier.wait(MEETING_SECONDS)
