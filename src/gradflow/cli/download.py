"""Download CIFAR-10 from the Hugging Face hub into the folder that data=cifar10 reads.

pip install 'gradflow-suite[hub]'
gradflow download data=cifar10
gradflow download data=cifar10 data.folder=elsewhere
"""

import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import hydra
from omegaconf import DictConfig

from gradflow.config import RunConfig
from gradflow.config.conf_folder import CONF
from gradflow.config.hydra_bridge import call, end_in_one_line, register_schema
from gradflow.core.errors import GradflowError
from gradflow.data.arrays import SPLITS, source_of
from gradflow.data.sets.cifar10 import Cifar10Config

REPOSITORY = "uoft-cs/cifar10"
FILES = {split: f"{split}.parquet" for split in SPLITS}


def download(config: RunConfig) -> None:
    """Write train.parquet and test.parquet, with the images still encoded, to data.folder.

    Both are read once as data=cifar10 reads them before they take the place of earlier ones.

    Raises:
        GradflowError: another data set; the hub extra is not installed; the folder holds other
            files of the same splits, or cannot be written to; the download fails, or is not
            CIFAR-10.
    """
    data = config.data
    if not isinstance(data, Cifar10Config):
        data.refuse("name", "only data=cifar10 is downloaded; the digits come installed")
    try:
        import datasets  # noqa: F401
    except ImportError as error:
        raise GradflowError(
            "the hub extra is not installed: pip install 'gradflow-suite[hub]'"
        ) from error
    folder = Path(data.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        present = [file.name for split in SPLITS for file in folder.glob(f"{split}*.parquet")]
        if others := set(present) - set(FILES.values()):
            data.refuse(
                "folder", f"holds {min(others)} already; remove it, or choose another folder"
            )
        with TemporaryDirectory(prefix=".download-", dir=folder) as scratch:
            _fetch(Path(scratch))
            source_of(replace(data, folder=scratch)).decode()
            for name in FILES.values():
                os.replace(Path(scratch) / name, folder / name)
                print(folder / name)
    except OSError as error:
        raise GradflowError(
            f"data.folder={folder}: cannot be written ({error.strerror or error})"
        ) from error


def _fetch(folder: Path) -> None:
    from datasets import Image, load_dataset

    try:
        for split, name in FILES.items():
            images = load_dataset(REPOSITORY, split=split).cast_column("img", Image(decode=False))
            images.to_parquet(str(folder / name), write_page_checksum=True)
    except Exception as error:  # the hub's client raises exceptions of many types
        reason = (str(error).splitlines() or [""])[0]
        raise GradflowError(
            f"{REPOSITORY}: cannot be downloaded ({type(error).__name__}: {reason})"
        ) from error


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="run")
def run(cfg: DictConfig) -> None:
    """Hydra's entry: compose the config and download its data set."""
    call(download, cfg, RunConfig)


def main() -> None:
    """The command line."""
    register_schema()
    end_in_one_line(run, sweeps=False)
