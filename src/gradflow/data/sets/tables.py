"""Tables that come installed with scikit-learn: vectors for network=mlp or custom.

    iris           150 flowers, 4 features, 3 classes (Fisher 1936)
    wine           178 wines, 13 features, 3 classes
    breast_cancer  569 tumors, 30 features, 2 classes
    diabetes       442 patients, 10 features, the progress in a year: one number, task=regression

A fifth, drawn once, is the test split.
"""

from dataclasses import dataclass

import numpy as np

from gradflow.config.data import CLASSES, NUMBERS, DataConfig
from gradflow.config.registry import register
from gradflow.config.validation import choice
from gradflow.data.arrays import Source
from gradflow.data.cache import Arrays
from gradflow.data.user_files import mixed


@dataclass(frozen=True)
class IrisConfig(DataConfig):
    """120 training and 30 test flowers of 4 features, in 3 classes."""

    name: str = choice("iris")


@dataclass(frozen=True)
class WineConfig(DataConfig):
    """143 training and 35 test wines of 13 features, in 3 classes."""

    name: str = choice("wine")


@dataclass(frozen=True)
class BreastCancerConfig(DataConfig):
    """456 training and 113 test tumors of 30 features, in 2 classes."""

    name: str = choice("breast_cancer")


@dataclass(frozen=True)
class DiabetesConfig(DataConfig):
    """354 training and 88 test patients of 10 features, and a number of each."""

    name: str = choice("diabetes")


@register(IrisConfig)
@register(WineConfig)
@register(BreastCancerConfig)
@register(DiabetesConfig)
def table(config: DataConfig) -> Source:
    """Installed with scikit-learn; nothing is downloaded."""
    numbers = isinstance(config, DiabetesConfig)
    classes = {"iris": 3, "wine": 3, "breast_cancer": 2, "diabetes": 1}[config.name]
    targets = NUMBERS if numbers else CLASSES
    return Source(config.name, classes, lambda: _read(config.name, numbers=numbers), targets)


def _read(name: str, *, numbers: bool) -> Arrays:
    from sklearn import datasets

    features, targets = getattr(datasets, f"load_{name}")(return_X_y=True)
    labels = targets[:, None].astype(np.float64) if numbers else targets.astype(np.uint8)
    return mixed({"train": (features.astype(np.float64), labels)})
