"""Data of your own: an archive of images and labels, which data=npz reads.

python examples/rings.py rings.npz
gradflow sweep data=npz data.file=rings.npz network.skip=false,true seed=0,1,2
"""

import sys

import numpy as np


def rings(count: int, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Circles of one of four radii, with noise: uint8 [count, 16, 16] and labels 0 ... 3."""
    labels = draw.integers(4, size=count)
    rows, columns = np.mgrid[:16, :16] - 7.5
    distance = np.hypot(rows, columns)[None] - (2 + 1.5 * labels)[:, None, None]
    images = 200 * np.exp(-(distance**2)) + draw.uniform(0, 50, distance.shape)
    return images.astype(np.uint8), labels


if __name__ == "__main__":
    draw = np.random.default_rng(0)
    train, test = rings(1024, draw), rings(256, draw)
    np.savez(
        sys.argv[1],
        train_images=train[0],
        train_labels=train[1],
        test_images=test[0],
        test_labels=test[1],
    )
