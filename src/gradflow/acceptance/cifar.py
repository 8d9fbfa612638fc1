"""The 6n+2 networks on CIFAR-10's images, before training."""

from functools import cache
from pathlib import Path

import torch

from gradflow.acceptance.claim import Basis, Claim, NotRun, Sample, logarithmic, within_factor
from gradflow.acceptance.measuring import end_ratios, seeds_of
from gradflow.config.acceptance import AcceptanceConfig
from gradflow.data.batches import Normalizer, training_batches
from gradflow.data.dataset import Dataset, load_dataset
from gradflow.data.sets.cifar10 import Cifar10Config
from gradflow.networks import build_network
from gradflow.probes import Probes
from gradflow.training.tasks import classify

NETWORKS = 16
PREDICTED = (  # depth, norm, skip, |dL/dh_0| / |dL/dh_last|
    (20, "batch", False, 28.0),
    (20, "batch", True, 9.3),
    (20, "none", False, 0.42),
    (20, "none", True, 11.0),
    (110, "batch", False, 2.1e7),
    (110, "batch", True, 72.0),
)


def folder_of(config: AcceptanceConfig) -> Path:
    """The folder of CIFAR-10's files."""
    assert isinstance(config.data, Cifar10Config)
    return Path(config.data.folder)


@cache
def images(config: AcceptanceConfig) -> Dataset:
    """CIFAR-10.

    Raises:
        NotRun: its folder does not exist.
    """
    folder = folder_of(config)
    if not folder.is_dir():
        raise NotRun(f"no CIFAR-10 in {folder}; data.folder=... says where it is")
    return load_dataset(config.data, Path(config.output_root) / ".cache")


def end_ratio(config: AcceptanceConfig, depth: int, norm: str, skip: bool) -> Sample:
    """The gradient's norm at the first block's input over that at the last block's output."""
    dataset = images(config)
    normalize = Normalizer(dataset.train_images, torch.float32)
    frames = []
    for seed in seeds_of(config, NETWORKS):
        [batch] = training_batches(
            dataset,
            normalize,
            batch_size=config.data.batch_size,
            augment=config.data.augment,
            seed=seed,
            first_step=0,
            steps=1,
        )
        network = build_network(
            "cifar_resnet", depth=depth, width=16, norm=norm, skip=skip, seed=seed
        ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
        with Probes(network) as probes:
            probes.arm(0)
            classify(network, batch.images, batch.labels, torch.Generator())[0].backward()
        frames.append(probes.tables()["blocks"].to_pandas())
    return logarithmic(end_ratios(frames))


def _claim(depth: int, norm: str, skip: bool, expected: float) -> Claim:
    twin = "residual" if skip else "plain"
    words = "batch norm" if norm == "batch" else "no norm"
    return Claim(
        f"{twin} {depth}, {words}, CIFAR-10: the gradient's end-to-end ratio",
        "Monte Carlo only, one or two seeds",
        f"cifar_resnet, width 16, He fan-out, batch 64, cross-entropy, {NETWORKS} networks; "
        "input_grad_norm; geometric mean",
        within_factor(expected, 2.5),
        "the reference is of one or two seeds, and a network's ratio varies by a factor up to 2",
        lambda config: end_ratio(config, depth, norm, skip),
        Basis.OWN,
    )


CLAIMS = tuple(_claim(*row) for row in PREDICTED)
