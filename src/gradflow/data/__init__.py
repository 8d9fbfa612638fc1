"""Data sets as uint8 tensors, and the batches a run sees, as a function of (seed, epoch)."""

from gradflow.data.batches import Batch, Normalizer, evaluation_batches, training_batches
from gradflow.data.datasets import Dataset, load_dataset

__all__ = [
    "Batch",
    "Dataset",
    "Normalizer",
    "evaluation_batches",
    "load_dataset",
    "training_batches",
]
