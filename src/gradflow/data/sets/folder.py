"""A folder of images by class: data=folder data.folder=flowers.

    flowers/train/daisy/1.png   flowers/test/daisy/2.png     with a test split of its own
    flowers/daisy/1.png                                      a fifth is drawn as test split

The class of an image is its folder; labels are the folders in order of name. PNG, WebP or JPEG,
8 bits per channel, gray or RGB, all of one size.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradflow.config.data import DataConfig
from gradflow.config.registry import register
from gradflow.config.validation import choice
from gradflow.core.errors import GradflowError
from gradflow.data.arrays import SPLITS, Source
from gradflow.data.cache import Arrays, Bytes
from gradflow.data.user_files import mixed, name_of, unreadable

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MODES = {"L": 1, "RGB": 3}
Classes = dict[str, list[Path]]


@dataclass(frozen=True)
class FolderConfig(DataConfig):
    """Images by class, a folder for each."""

    name: str = choice("folder")
    folder: str = "data/folder"


@register(FolderConfig)
def folder(config: FolderConfig) -> Source:
    """The images of a folder; the decoded copy is made again when one of them changes.

    Raises:
        GradflowError: no such folder; fewer than two classes; a class without images, or one that
            the test split alone has. When it is decoded: an image that cannot be read, or that is
            of another size or kind than the first.
    """
    root = Path(config.folder)
    if not root.is_dir():
        config.refuse("folder", "no such folder; it needs a folder of images for each class")
    try:
        has_splits = all((root / split).is_dir() for split in SPLITS)
        found = {s: _classes(root / s) for s in SPLITS} if has_splits else {"train": _classes(root)}
    except OSError as error:
        unreadable(f"data.folder={root}", error)
    names = sorted(found["train"])
    if not 2 <= len(names) <= 256:
        config.refuse("folder", f"has {len(names)} folders of images; needs 2 to 256 classes")
    for split, classes in found.items():
        if other := sorted(classes.keys() - set(names)):
            config.refuse("folder", f"{split}/{other[0]} is no class of train/")
        if empty := [name for name in classes if not classes[name]]:
            config.refuse("folder", f"{empty[0]} holds no image ({', '.join(SUFFIXES)})")
    files = [path for classes in found.values() for paths in classes.values() for path in paths]
    return Source(name_of("folder", files), len(names), lambda: _decode(found, names))


def _classes(root: Path) -> Classes:
    return {
        each.name: sorted(path for path in each.iterdir() if path.suffix.lower() in SUFFIXES)
        for each in sorted(root.iterdir())
        if each.is_dir() and not each.name.startswith(".")
    }


def _decode(found: dict[str, Classes], names: list[str]) -> Arrays:
    first: list[Any] = []  # path, mode and size of the first image
    parts: dict[str, tuple[Bytes, Bytes]] = {}
    for split, classes in found.items():
        images = [_read(path, first) for name in classes for path in classes[name]]
        labels = [names.index(name) for name in classes for _ in classes[name]]
        parts[split] = np.stack(images), np.array(labels, np.uint8)
    return mixed(parts)


def _read(path: Path, first: list[Any]) -> Bytes:
    """[C, H, W]."""
    from PIL import Image

    try:
        with Image.open(path) as opened:
            mode, size = opened.mode, opened.size
            pixels = np.array(opened)
    except Exception as error:  # Pillow's decoders raise exceptions of many types
        unreadable(str(path), error)
    if mode not in MODES:
        raise GradflowError(f"{path}: is of mode {mode}; needs 8-bit gray or RGB")
    if not first:
        first += [path, mode, size]
    if [mode, size] != first[1:]:
        raise GradflowError(
            f"{path}: is {mode} of {size[0]}x{size[1]}; {first[0].name} is {first[1]} of "
            f"{first[2][0]}x{first[2][1]}, and images have one size and kind"
        )
    return pixels[None] if MODES[mode] == 1 else pixels.transpose(2, 0, 1)
