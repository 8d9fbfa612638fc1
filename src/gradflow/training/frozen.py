"""A network held still: as it was drawn or as it was trained, with images to look at it by."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from gradflow.config import RunConfig
from gradflow.config.diagnostics import DiagnosticConfig
from gradflow.config.needs import LACKING
from gradflow.core.errors import GradflowError
from gradflow.core.seeds import seeded
from gradflow.data.batches import Normalizer
from gradflow.data.dataset import Dataset
from gradflow.networks import Network
from gradflow.training.checkpoint import FINAL, load_final, load_weights
from gradflow.training.tasks import Task, network_of, placed, task_of

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)


@dataclass(frozen=True)
class Frozen:
    """What a diagnosis works on.

    Attributes:
        network: in evaluation mode, so that examples do not depend on each other. Trained,
            its batch norms have the averages of the training; as drawn, when there are
            none yet, the statistics of `images`.
        images, labels: the first of a split, normalized as in training; [N, C, H, W], [N].
        seed: of the run.
    """

    network: Network
    task: Task
    images: Tensor
    labels: Tensor
    seed: int

    def loss_and_error(self) -> tuple[Tensor, Tensor]:
        """Means over the images; the noise that a task needs is the same each time."""
        return self.loss_of(self.network)

    def loss_of(self, network: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
        """The same of another network, or of a part of this one on what comes before it."""
        return self.task(network, self.images, self.labels, seeded(0, "diagnosis"))


def freeze(
    config: RunConfig,
    diagnostic: DiagnosticConfig,
    folder: Path,
    dataset: Dataset,
    *,
    trained: bool,
    dtype: torch.dtype,
) -> Frozen:
    """The network of a run, before its training or after it.

    Raises:
        GradflowError: it is to be the trained one, and its weights are not in `folder`; the
            split has fewer images than asked for.
    """
    network = network_of(config, dataset.image_shape, dataset.classes)
    if trained:
        load_weights(network, load_final(folder), folder / FINAL)
    network = placed(network, config, dtype).eval()
    images, labels = (
        (dataset.train_images, dataset.train_labels)
        if diagnostic.split == "train"
        else (dataset.test_images, dataset.test_labels)
    )
    if diagnostic.images > len(labels):
        diagnostic.refuse("images", f"the {diagnostic.split} split has {len(labels)}")
    normalize = Normalizer(dataset.train_images, dtype)
    frozen = Frozen(
        network,
        task_of(config.network, config.task),
        normalize(images[: diagnostic.images]),
        labels[: diagnostic.images],
        config.seed,
    )
    if not trained:
        settle_norms(network, frozen.loss_and_error)
    return frozen


@torch.no_grad()
def settle_norms(network: nn.Module, forward: Callable[[], object]) -> None:
    """Give every batch norm the mean and variance of what reaches it in one forward pass.

    The network is in evaluation mode; it then computes what it computes in training mode on
    that batch, with the statistics held fixed.
    """

    def take(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, BATCH_NORMS)
        axes = [axis for axis in range(inputs[0].ndim) if axis != 1]
        norm.get_buffer("running_mean").copy_(inputs[0].mean(axes))
        norm.get_buffer("running_var").copy_(inputs[0].var(axes, unbiased=False))

    norms = [module for module in network.modules() if isinstance(module, BATCH_NORMS)]
    handles = [norm.register_forward_pre_hook(take) for norm in norms]
    try:
        forward()
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[None]:
    """Inside, batch norms take the statistics of each batch, and their averages stay."""
    norms = [module for module in network.modules() if isinstance(module, BATCH_NORMS)]
    try:
        for norm in norms:
            norm.train()
            norm.track_running_stats = False
        yield
    finally:
        for norm in norms:
            norm.eval()
            norm.track_running_stats = True


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Inside, attention is computed by the kernel that has second derivatives: the fused ones,
    which are quicker, have none."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


def check_blocks(network: nn.Module) -> None:
    """Raise a GradflowError if a network has no blocks of this package."""
    if isinstance(network, Network) and not len(network.blocks):
        raise GradflowError(LACKING["blocks"])


def check_inputs(images: Tensor) -> None:
    """Raise a GradflowError if they are tokens, by which nothing can be differentiated."""
    if not images.is_floating_point():
        raise GradflowError(LACKING["gradient by the input"])


def block_inputs(network: nn.Module, images: Tensor) -> list[Tensor]:
    """What enters each block, and last the head: n + 1 tensors [N, ...] of one graph.

    Raises:
        GradflowError: the blocks are not a chain (a U-Net's long skips pass by some of them).
    """
    check_blocks(network)
    if type(network) is not Network:
        raise GradflowError(LACKING["chain"])
    found = [network.stem(images)]
    for block in network.blocks:
        found.append(block(found[-1]))
    return found
