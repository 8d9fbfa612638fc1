"""Random networks of this suite, measured by its probes: what most claims are tested with."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from torch import Tensor, nn, randn

from gradflow.config.acceptance import AcceptanceConfig
from gradflow.core.seeds import seeded
from gradflow.networks import Network, build_network
from gradflow.probes import Probes
from gradflow.verdict.gradient import end_to_end

Floats = npt.NDArray[np.float64]
Shape = tuple[int, int, int]

DIGIT: Shape = (1, 8, 8)  # the shape of a digit, for networks whose images are noise


def first_seed(config: AcceptanceConfig) -> int:
    """The seed of the one network of a claim that is exact."""
    return 10_000 * config.seed


def seeds_of(config: AcceptanceConfig, count: int) -> range:
    """The seeds of `count` networks, times config.times; two values of config.seed share none."""
    return range(first_seed(config), first_seed(config) + count * config.times)


def noise(seed: int, count: int, shape: Shape = DIGIT) -> Tensor:
    """[count, *shape] standard normal images."""
    return randn(count, *shape, generator=seeded(seed, "acceptance images"))


def tables(
    network: nn.Module, images: Tensor, seed: int, *, details: bool = False
) -> dict[str, pd.DataFrame]:
    """What the probes record of one forward and backward pass.

    The loss is a random linear functional of each example's outputs, so that the gradient
    that starts on its way back is known and independent of the network. Gradients of the
    weights stay where they are.
    """
    with Probes(network) as probes:
        probes.arm(0, details=details)
        outputs = network(images)
        weights = randn(outputs.shape, generator=seeded(seed, "acceptance functional"))
        (outputs * weights.to(outputs.dtype)).sum().backward()
    return {name: table.to_pandas() for name, table in probes.tables().items()}


def blocks_of(network: nn.Module, images: Tensor, seed: int) -> pd.DataFrame:
    """The numbers of the `blocks` table of `tables`, in float64."""
    text = ["block_name", "reason"]
    return tables(network, images, seed)["blocks"].drop(columns=text).astype(float)


def random_mlp(blocks: int, seed: int, *, width: int, layers: int = 1, **options: Any) -> Network:
    """x + W phi(x) without norm (skip=False: W phi(x)), Gaussian weights of variance 2/width.

    The input of block 0 is behind the stem's activation and therefore positive; measure
    from block 1 on. With skips block 0 has a projection (the stem is two units narrower), so
    that nothing positive goes past it and block 1 has a Gaussian input.
    """
    if options.get("skip", True):
        options = {"widths": (width,) * blocks, **options}
        width -= 2
    defaults = {
        "placement": "full_preactivation",
        "initialization": "gaussian",
        "weight_variance": 2.0,
        "norm": "none",
    }
    options = {**defaults, **options}
    depth = blocks * layers + 2
    return build_network(
        "mlp", image_shape=DIGIT, depth=depth, width=width, layers=layers, seed=seed, **options
    )


def growth(frames: Sequence[pd.DataFrame], column: str, first: int, last: int) -> Floats:
    """Of each frame the squared `column` at block `last` over that at block `first`."""
    return np.array([(f[column][last] / f[column][first]) ** 2 for f in frames])


def forward_growth(frames: Sequence[pd.DataFrame], first: int, last: int) -> Floats:
    """Of each network the mean square of block `last`'s input over that of block `first`'s."""
    return growth(frames, "input_rms", first, last)


def backward_growth(frames: Sequence[pd.DataFrame], first: int, last: int) -> Floats:
    """Of each network the squared gradient at block `first`'s input over that at `last`'s."""
    return 1 / growth(frames, "input_grad_norm", first, last)


def end_ratios(frames: Sequence[pd.DataFrame]) -> Floats:
    """Of each network's `blocks` table, measured once, the end-to-end ratio."""
    keys: dict[str, Any] = {"depth": 0, "twin": "", "step": 0}
    runs = [frame.assign(run_id=number, seed=number, **keys) for number, frame in enumerate(frames)]
    ratios: Floats = end_to_end(pd.concat(runs))["ratio"].to_numpy(dtype=float)
    return ratios
