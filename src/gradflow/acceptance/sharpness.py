"""The edge of stability: full-batch gradient descent sharpens until 2 / rate."""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from gradflow.acceptance.claim import Basis, Claim, Sample, linear, within
from gradflow.acceptance.measuring import Floats, seeds_of
from gradflow.config.acceptance import AcceptanceConfig
from gradflow.core.seeds import derive_seed
from gradflow.data.dataset import load_dataset
from gradflow.data.sets.digits import DigitsConfig
from gradflow.diagnostics.curvature import largest_eigenvalue
from gradflow.networks import Network, build_network

IMAGES, STEPS, LOOKS = 256, 4000, 20  # of gradient descent, and how often sharpness is measured
SHARPER = (2.0, 3.0)  # 2 / rate over the sharpness at the start
RATES_OF_DESCENT = (0.2, 0.4)


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
    return course(network, images, targets, rate, seed)


def course(
    network: Network, images: Tensor, targets: Tensor, rate: float, seed: int
) -> list[float]:
    """Sharpness in units of 2 / rate, before the first of 4,000 steps and every 200 after it."""
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


@cache
def deeper_sharpness(config: AcceptanceConfig, rate: float) -> Floats:
    """As `sharpness`, of tanh networks of depth 6 as torch draws them, digits centered by pixel."""
    images, targets = digits(config)
    images = images - images.mean(0)
    images = images / images.std()
    rows = []
    for seed in seeds_of(config, 4):
        network = build_network(
            "mlp", image_shape=(1, 8, 8), depth=6, width=32, skip=False, activation="tanh",
            initialization="default", seed=seed,
        ).double()  # fmt: skip
        rows.append(course(network, images, targets, rate, seed))
    return np.array(rows)


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


def at_the_edge(courses: Floats) -> Sample:
    """The sharpness in units of 2 / rate, mean over the last quarter of the looks."""
    return linear(courses[:, -LOOKS // 4 :].mean(axis=1))


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
        lambda config: at_the_edge(sharpness(config, times)),
        Basis.PUBLISHED,
        "the loss falls before curvature has grown: on digits that are not centered by pixel four "
        "layers are as sharp when drawn as they ever get",
    )


def _deeper(rate: float, basis: Basis) -> Claim:
    return Claim(
        f"edge of stability, 6 layers, rate {rate:g}: sharpness rises to 2 / rate and stays",
        "Cohen et al. 2021",
        "the same of tanh mlp of depth 6, torch's initialization, digits centered by pixel",
        within(1.05, 0.15),
        "'right at, or just above' 2 / rate; looks oscillate around it",
        lambda config: at_the_edge(deeper_sharpness(config, rate)),
        basis,
    )


CLAIMS = (
    _sharpness(SHARPER[0]),
    _sharpness(SHARPER[1]),
    _deeper(RATES_OF_DESCENT[0], Basis.FITTED),
    _deeper(RATES_OF_DESCENT[1], Basis.PUBLISHED),
)
