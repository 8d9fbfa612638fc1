"""Errors of networks that differ by chance alone: what simulated studies are made of."""

from collections.abc import Callable, Sequence

import numpy as np

from gradflow.verdict.outcome import Floats

Noise = Callable[[np.random.Generator, tuple[int, ...]], Floats]

POINT = 0.01
IMAGES = 1437  # errors are whole numbers of images


def gaussian(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Mean 30 %, standard deviation 2 points."""
    return 0.3 + 2 * POINT * rng.standard_normal(shape)


def heavy_tailed(freedom: int) -> Noise:
    """Mean 30 %, 2 points times Student's t."""
    return lambda rng, shape: 0.3 + 2 * POINT * rng.standard_t(freedom, shape)


def at_zero(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Two of three networks fit perfectly, the others have errors of 3 points on average."""
    return rng.exponential(3 * POINT, shape) * (rng.random(shape) < 1 / 3)


def flicker(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Half of the networks fit perfectly, the others have one image wrong."""
    return (rng.random(shape) < 0.5) / IMAGES


def failing(share: float | Sequence[float]) -> Noise:
    """So many of the networks learn nothing, the others fit: one share for all, or by depth.

    Half is the worst case for three seeds, which then agree by chance one time in four.
    """
    by_depth = np.asarray(share, dtype=float)[..., None]

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        errors = np.where(rng.random(shape) < by_depth, 0.9, 0.0)
        return errors + POINT * np.abs(rng.standard_normal(shape))

    return draw


NOISE: dict[str, Noise] = {
    "Gaussian": gaussian,
    "heavy-tailed, t(3)": heavy_tailed(3),
    "heavy-tailed, t(2)": heavy_tailed(2),
    "at zero": at_zero,
    "one image or none": flicker,
    "all or nothing": failing(0.5),
}


def rounded(errors: Floats) -> Floats:
    """Errors as images make them: whole numbers of images, within 0 and 100 %."""
    return np.round(np.clip(errors, 0, 1) * IMAGES) / IMAGES
