"""Parquet files of 8-bit images, RGB or gray, and labels, in columns of any name: data=parquet."""

from dataclasses import dataclass
from pathlib import Path

from gradflow.config.data import DataConfig
from gradflow.config.registry import register
from gradflow.config.validation import choice, number
from gradflow.data.arrays import Source
from gradflow.data.layout import Layout
from gradflow.data.parquet_folder import parquet_source


@dataclass(frozen=True)
class ParquetConfig(DataConfig):
    """A folder with train*.parquet and test*.parquet; `image` and `label`: their columns."""

    name: str = choice("parquet")
    folder: str = "data/parquet"
    image: str = "image"
    label: str = "label"
    height: int = number(32, at_least=1)
    width: int = number(32, at_least=1)
    classes: int = number(10, at_least=2, at_most=256)
    channels: int = number(3, at_least=1, at_most=3)  # 1: gray


@register(ParquetConfig)
def parquet(config: ParquetConfig) -> Source:
    """See `parquet_source`."""
    if config.channels == 2:
        config.refuse("channels", "must be 3 (RGB) or 1 (gray)")
    sizes = config.height, config.width, config.classes, config.channels
    layout = Layout("data=parquet", config.image, config.label, *sizes)
    return parquet_source("parquet", Path(config.folder), layout)
