"""Laws over depth, and along training: the largest useful rate, and the edge of stability."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from gradflow.acceptance.claim import Basis, Claim, Sample, linear, within
from gradflow.acceptance.measuring import Floats, noise, random_mlp, seeds_of
from gradflow.config.acceptance import AcceptanceConfig
from gradflow.core.seeds import derive_seed
from gradflow.data.dataset import load_dataset
from gradflow.data.sets.digits import DigitsConfig
from gradflow.diagnostics.curvature import largest_eigenvalue
from gradflow.networks import Network, build_network
from gradflow.training.frozen import block_inputs

DEPTHS, WIDTH, GROUPS, GROUP = (2, 4, 8, 16), 512, 6, 8
IMAGES, STEPS, LOOKS = 256, 4000, 20  # of gradient descent, and how often sharpness is measured
SHARPER = (2.0, 3.0)  # 2 / rate over the sharpness at the start


def squared_change(blocks: int, seed: int, **options: Any) -> float:
    """Of the last block's output, over the squared rate: gradient descent on the blocks' weights
    of a random linear functional of the outputs for one image."""
    network = random_mlp(blocks, seed, width=WIDTH, bias=False, **options).double()
    image = noise(seed, 1).double()
    last = block_inputs(network, image)[-1]
    network.head(last).sum().backward()
    rate = 1e-6
    with torch.no_grad():
        for parameter in network.blocks.parameters():
            if parameter.grad is not None:
                parameter.sub_(rate * parameter.grad)
        changed = block_inputs(network, image)[-1]
    return float((changed - last).square().sum()) / rate**2


@cache
def changes(config: AcceptanceConfig, skip: bool) -> Floats:
    """[groups, depths]: `squared_change`, mean over the networks of a group."""
    scaling = "inverse_sqrt" if skip else "constant"
    found = [
        [squared_change(blocks, seed, skip=skip, scaling=scaling) for blocks in DEPTHS]
        for seed in seeds_of(config, GROUPS * GROUP)
    ]
    means: Floats = np.array(found).reshape(-1, GROUP, len(DEPTHS)).mean(axis=1)
    return means


def rate_exponent(config: AcceptanceConfig, skip: bool) -> Sample:
    """The slope of the log of the rate that changes outputs by a set amount, over log depth."""
    logs = -np.log(changes(config, skip)) / 2
    return linear(np.polyfit(np.log(DEPTHS), logs.T, 1)[0])


def digits(config: AcceptanceConfig) -> tuple[Tensor, Tensor]:
    """256 digits of mean 0 and variance 1, and their classes as one-hot rows, in float64."""
    dataset = load_dataset(DigitsConfig(), Path(config.output_root) / ".cache")
    images, labels = dataset.train_images[:IMAGES].double(), dataset.train_labels[:IMAGES]
    images = (images - images.mean()) / images.std()
    return images, torch.nn.functional.one_hot(labels, 10).double()


@cache
def sharpness(config: AcceptanceConfig, times: float) -> Floats:
    """[networks, looks]: the Hessian's largest eigenvalue along full-batch gradient descent, in
    units of 2 / rate; the rate is such that this is 1 / `times` at the start."""
    images, targets = digits(config)
    return np.array([descent(seed, images, targets, times) for seed in seeds_of(config, 4)])


def descent(seed: int, images: Tensor, targets: Tensor, times: float) -> list[float]:
    """One network's row of `sharpness`."""
    network = build_network(
        "mlp", image_shape=(1, 8, 8), depth=4, width=32, skip=False, activation="tanh",
        initialization="xavier", seed=seed,
    ).double()  # fmt: skip
    rate = 2 / (times * largest(network, images, targets, seed))
    found = []
    for step in range(STEPS + 1):
        if step % (STEPS // LOOKS) == 0:
            found.append(rate / 2 * largest(network, images, targets, seed))
        network.zero_grad()
        loss_of(network, images, targets).backward()
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.grad is not None:
                    parameter.sub_(rate * parameter.grad)
    return found


def loss_of(network: Network, images: Tensor, targets: Tensor) -> Tensor:
    """Half of the squared error, mean over images (Cohen et al. 2021)."""
    loss: Tensor = (network(images) - targets).square().sum() / (2 * len(images))
    return loss


def largest(network: Network, images: Tensor, targets: Tensor, seed: int) -> float:
    """The largest eigenvalue of the loss's Hessian."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    loss = loss_of(network, images, targets)
    gradients = torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True)
    flat = torch.cat([g.flatten() for g in gradients])

    def times_hessian(vector: Floats) -> Floats:
        product = (flat * torch.as_tensor(vector.ravel())).sum()
        parts = torch.autograd.grad(product, parameters, retain_graph=True, materialize_grads=True)
        return torch.cat([part.flatten() for part in parts]).numpy()

    start = np.random.default_rng(derive_seed(seed, "sharpness")).standard_normal(len(flat))
    shape = (len(flat), len(flat))
    return largest_eigenvalue(LinearOperator(shape, times_hessian, dtype=np.float64), start)


def at_the_edge(config: AcceptanceConfig, times: float) -> Sample:
    """The sharpness in units of 2 / rate, mean over the last quarter of the looks."""
    return linear(sharpness(config, times)[:, -LOOKS // 4 :].mean(axis=1))


RATES = (
    f"width {WIDTH}, {', '.join(map(str, DEPTHS))} blocks, one image, a step on the blocks' "
    f"weights, float64; {GROUPS} groups of {GROUP} networks, mean of the squared change, slope of "
    "a line through the logarithms"
)


def _sharpness(times: float) -> Claim:
    return Claim(
        f"edge of stability, 2 / rate at {times:g} times the sharpness as drawn: sharpness at the "
        "end over 2 / rate",
        "Cohen et al. 2021",
        f"tanh mlp of depth 4, width 32, squared error, {IMAGES} digits, {STEPS} steps of "
        "full-batch gradient descent, 4 networks; largest eigenvalue of the Hessian, mean of the "
        "last quarter of 20 looks",
        within(1.05, 0.15),
        "'right at, or just above' 2 / rate; looks oscillate around it",
        lambda config: at_the_edge(config, times),
        Basis.PUBLISHED,
    )


CLAIMS = (
    Claim(
        "plain He ReLU network: exponent in depth of the rate that changes its output by a set "
        "amount",
        "Jelassi et al. 2023 (arXiv 2305.07810)",
        f"W ReLU(x), {RATES}",
        within(-1.5, 0.15),
        "at finite width, 5 L / n of a logarithm, and 48 networks: 0.05 each",
        lambda config: rate_exponent(config, skip=False),
        Basis.PUBLISHED,
    ),
    Claim(
        "x + W ReLU(x) / sqrt(L): the same exponent, flat",
        "Yang et al. 2023; Bordelon et al. 2023 (arXiv 2310.02244, 2309.16620)",
        f"{RATES}",
        within(0.0, 0.15),
        "(1 + 1/L)^L tends to e from 2.25 at L = 2, and moves the slope by some hundredths",
        lambda config: rate_exponent(config, skip=True),
        Basis.PUBLISHED,
    ),
    _sharpness(SHARPER[0]),
    _sharpness(SHARPER[1]),
)
