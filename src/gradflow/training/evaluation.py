"""A network evaluated: loss and error of each split, and how far gradients of examples agree."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gradflow.core.seeds import seeded
from gradflow.data.arrays import EVALUATION_BATCH
from gradflow.data.batches import Normalizer, evaluation_batches
from gradflow.data.dataset import Dataset
from gradflow.probes import between_examples
from gradflow.training.tasks import Task

EXAMPLES = 8  # number of training images, from the first, whose gradients are compared


class Subject(NamedTuple):
    """What is evaluated, and on what."""

    network: nn.Module
    task: Task
    dataset: Dataset
    normalize: Normalizer


def compare_examples(subject: Subject) -> Tensor:
    """`between_examples` of the first training images, with the same noise at every step."""
    network, task, dataset, normalize = subject
    images = normalize(dataset.train_images[:EXAMPLES])
    labels = dataset.train_labels[:EXAMPLES]

    def losses() -> Tensor:
        torch.manual_seed(0)  # of dropout masks; the stream is put back after
        return task(network, images, labels, seeded(0, "examples"), each=True)[0]

    return between_examples(network, losses)


class Evaluation(NamedTuple):
    """Of a split; `batch_error` is the error with each batch's own statistics in batch norm, None
    in a network without it."""

    loss: float
    error: float
    batch_error: float | None


def evaluate_splits(subject: Subject, images: int | None, batch_size: int) -> dict[str, Evaluation]:
    """Loss and errors on the first `images` of each split, or on all of it, by split.

    In evaluation mode, without augmentation; the network is back in training mode after. The
    running averages of batch norm lag behind weights that change quickly, so that a network can
    be better than its evaluation says: the error with the statistics of batches of `batch_size`,
    as in training, says by how much. A last batch that is shorter is then left out.
    """
    network, task, dataset, normalize = subject
    part = slice(None, images)
    splits = {
        "train": (dataset.train_images[part], dataset.train_labels[part]),
        "test": (dataset.test_images[part], dataset.test_labels[part]),
    }
    found = {}
    for name, split in splits.items():
        loss, error = evaluate(network, task, *split, normalize)
        with batch_statistics(network) as there:
            whole = max(len(split[1]) // batch_size, 1) * batch_size
            pictures, labels = (tensor[:whole] for tensor in split)
            other = None
            if there:
                _, other = evaluate(network, task, pictures, labels, normalize, batch_size)
        found[name] = Evaluation(loss, error, other)
    return found


@contextmanager
def batch_statistics(network: nn.Module) -> Iterator[bool]:
    """Inside, batch norm takes each batch's own statistics in evaluation mode too, and its running
    averages stay as they are; whether there is any batch norm."""
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm)]
    kept = [(norm.running_mean, norm.running_var) for norm in norms]
    for norm in norms:
        norm.running_mean = norm.running_var = None
    try:
        yield bool(norms)
    finally:
        for norm, (mean, variance) in zip(norms, kept, strict=True):
            norm.running_mean, norm.running_var = mean, variance


@torch.no_grad()
def evaluate(
    network: nn.Module,
    task: Task,
    images: Tensor,
    labels: Tensor,
    normalize: Normalizer,
    batch_size: int = EVALUATION_BATCH,
) -> tuple[float, float]:
    """Mean loss and error of the task over all images; its noise is the same for every run."""
    network.eval()
    loss = torch.zeros((), dtype=torch.float64, device=images.device)
    error = loss.clone()
    generator = seeded(0, "evaluation noise", 0)
    for inputs, targets in evaluation_batches(images, labels, normalize, batch_size):
        batch_loss, batch_error = task(network, inputs, targets, generator)
        loss += batch_loss.double() * len(targets)
        error += batch_error.double() * len(targets)
    network.train()
    return float(loss) / len(labels), float(error) / len(labels)
