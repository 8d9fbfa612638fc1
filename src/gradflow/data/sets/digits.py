"""scikit-learn's handwritten digits.

They come without a test split: 360 images, a fifth of 1,797, are drawn once and for all, and no
run trains on them.
"""

from dataclasses import dataclass

import numpy as np

from gradflow.config.data import DataConfig
from gradflow.config.registry import register
from gradflow.config.validation import choice
from gradflow.data.arrays import Source
from gradflow.data.cache import Arrays

TEST_IMAGES = 360


@dataclass(frozen=True)
class DigitsConfig(DataConfig):
    """scikit-learn's handwritten digits: 1,437 training and 360 test images, 1x8x8."""

    name: str = choice("digits")


@register(DigitsConfig)
def digits(config: DigitsConfig) -> Source:
    """Installed with scikit-learn; nothing is downloaded."""
    return Source("digits", classes=10, decode=_read)


def _read() -> Arrays:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    # NumPy guarantees RandomState's stream for ever, so the split is the same everywhere.
    order = np.random.RandomState(0).permutation(len(labels))
    images = images.reshape(-1, 1, 8, 8).astype(np.uint8)[order]  # gray levels 0 ... 16
    labels = labels.astype(np.uint8)[order]
    test, train = slice(None, TEST_IMAGES), slice(TEST_IMAGES, None)
    return {
        "train_images": images[train],
        "train_labels": labels[train],
        "test_images": images[test],
        "test_labels": labels[test],
    }
