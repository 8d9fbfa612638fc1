"""Download CIFAR-10 from the Hugging Face hub into the folder that data=cifar10 reads.

pip install -e '.[hub]'
python experiments/download.py data=cifar10
"""

if __name__ == "__main__":  # before the imports, which take a second
    from gradflow.core.interrupts import leave_at_once

    leave_at_once()

from pathlib import Path

import hydra
from omegaconf import DictConfig

from gradflow.config import RunConfig
from gradflow.config.hydra_bridge import call, main, register_schema
from gradflow.core.errors import GradflowError
from gradflow.data.sets.cifar10 import Cifar10Config

REPOSITORY = "uoft-cs/cifar10"

register_schema()


def download(config: RunConfig) -> None:
    """Write train.parquet and test.parquet, with the images still encoded, to data.folder."""
    if not isinstance(config.data, Cifar10Config):
        config.data.refuse("name", "only data=cifar10 is downloaded; the digits come installed")
    try:
        from datasets import Image, load_dataset
    except ImportError as error:
        raise GradflowError("the hub extra is not installed: pip install -e '.[hub]'") from error
    folder = Path(config.data.folder)
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        images = load_dataset(REPOSITORY, split=split).cast_column("img", Image(decode=False))
        partial = folder / f"{split}.partial"
        images.to_parquet(str(partial))
        print(partial.replace(folder / f"{split}.parquet"))


@hydra.main(version_base="1.3", config_path="../conf", config_name="run")
def run(cfg: DictConfig) -> None:
    call(download, cfg, RunConfig)


if __name__ == "__main__":
    main(run)
