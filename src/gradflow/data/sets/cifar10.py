"""CIFAR-10 (Krizhevsky 2009), from parquet files of encoded images; its own test split."""

from dataclasses import dataclass
from pathlib import Path

from gradflow.config.data import DataConfig
from gradflow.config.registry import register
from gradflow.config.validation import choice, number
from gradflow.data.arrays import Source
from gradflow.data.layout import Layout
from gradflow.data.parquet_folder import parquet_source

LAYOUT = Layout("CIFAR-10", "img", "label", height=32, width=32, classes=10)


@dataclass(frozen=True)
class Cifar10Config(DataConfig):
    """CIFAR-10 from a folder of parquet files with the columns `img` and `label`."""

    name: str = choice("cifar10")
    batch_size: int = number(128, at_least=2)
    folder: str = "data/cifar10"
    augment: bool = True


@register(Cifar10Config)
def cifar10(config: Cifar10Config) -> Source:
    """See `parquet_source`."""
    return parquet_source("cifar10", Path(config.folder), LAYOUT)
