"""A network evaluated: loss and error of each split, and how far gradients of examples agree."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

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


def evaluate_splits(subject: Subject, images: int | None) -> dict[str, tuple[float, float]]:
    """(loss, error) on the first `images` of each split, or on all of it, by split.

    In evaluation mode, without augmentation; the network is back in training mode after.
    """
    network, task, dataset, normalize = subject
    part = slice(None, images)
    splits = {
        "train": (dataset.train_images[part], dataset.train_labels[part]),
        "test": (dataset.test_images[part], dataset.test_labels[part]),
    }
    return {name: evaluate(network, task, *split, normalize) for name, split in splits.items()}


@torch.no_grad()
def evaluate(
    network: nn.Module, task: Task, images: Tensor, labels: Tensor, normalize: Normalizer
) -> tuple[float, float]:
    """Mean loss and error of the task over all images; its noise is the same for every run."""
    network.eval()
    loss = torch.zeros((), dtype=torch.float64, device=images.device)
    error = loss.clone()
    generator = seeded(0, "evaluation noise", 0)
    for inputs, targets in evaluation_batches(images, labels, normalize, EVALUATION_BATCH):
        batch_loss, batch_error = task(network, inputs, targets, generator)
        loss += batch_loss.double() * len(targets)
        error += batch_error.double() * len(targets)
    network.train()
    return float(loss) / len(labels), float(error) / len(labels)
