"""Steps of gradflow's own training loop on demand: the other side of `usual_loop --turns`.

    python -m benchmarks.our_loop --case cifar-20

It is `gradflow.training.loop.train` as a run calls it, with all its records on disk. The loop
evaluates and reports once per turn, and waits there for the next.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.cases import CASES, Case
from gradflow.config.data import DataConfig
from gradflow.config.probes import EveryConfig, OffConfig
from gradflow.config.run import EvaluationConfig, RunConfig
from gradflow.core.progress import Progress
from gradflow.data.dataset import Dataset, load_dataset
from gradflow.data.sets.cifar10 import Cifar10Config
from gradflow.data.sets.digits import DigitsConfig
from gradflow.networks import make_network
from gradflow.networks.families.cifar_resnet import CifarResNetConfig
from gradflow.records import RecordWriter
from gradflow.training.loop import train
from gradflow.training.optimizers.sgd import SGDConfig
from gradflow.training.schedules.constant import ConstantConfig
from gradflow.training.torch_settings import prepare_torch


def config_of(case: Case, *, dtype: str = "float32") -> RunConfig:
    """A run without end that reports, and evaluates two images, once per turn."""
    data: DataConfig = Cifar10Config() if case.image[0] == 3 else DigitsConfig()
    return RunConfig(
        network=CifarResNetConfig(depth=case.depth, width=case.width),
        data=replace(data, batch_size=case.batch),
        optimizer=SGDConfig(learning_rate=0.01),
        schedule=ConstantConfig(),
        probe=EveryConfig(),
        details=OffConfig(),
        evaluation=EvaluationConfig(every=case.turn, images=2),
        steps=10**7,
        dtype=dtype,
    )


def dataset_of(case: Case, root: Path) -> Dataset:
    """Digits, or random pixels of CIFAR-10's shape."""
    if case.image[0] == 1:
        return load_dataset(DigitsConfig(), root)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (2048, *case.image), generator=generator, dtype=torch.uint8)
    labels = torch.randint(10, (2048,), generator=generator)
    return Dataset(images, labels, images[:256], labels[:256], "random", 10)


def main() -> None:
    """Train; before each turn wait for a line on stdin, after it print its seconds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--case", choices=CASES, required=True)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--layout", choices=["channels_last", "nchw"], default="channels_last")
    arguments = parser.parse_args()
    case = CASES[arguments.case]
    config = config_of(case, dtype=arguments.dtype)
    prepare_torch(config)
    network = make_network(config.network, case.image, 10, config.seed)
    last = arguments.layout == "channels_last"
    memory_format = torch.channels_last if last else torch.contiguous_format
    network.to(memory_format=memory_format)  # type: ignore[call-overload]  # torch's stub lacks it
    start = 0.0

    def wait(progress: Progress) -> None:
        nonlocal start
        if progress.step % case.turn:
            return
        print("ready" if start == 0.0 else time.perf_counter() - start, flush=True)
        if not sys.stdin.readline():
            raise SystemExit
        start = time.perf_counter()

    with tempfile.TemporaryDirectory() as folder:
        dataset = dataset_of(case, Path(folder))
        with RecordWriter(Path(folder) / "run", "run") as writer:
            train(config, network, dataset, writer, wait, "benchmark")


if __name__ == "__main__":
    main()
