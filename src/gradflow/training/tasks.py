"""What a network is trained to do, by family or as asked: its loss and error, of a batch.

    classification  cross-entropy in nats; share of wrong answers
    next token      cross-entropy in nats per token; share of wrong next tokens
    regression      mean squared error; which is a share of the training targets' variance
    denoising       x + noise -> x (U-Net); mean squared error; its share of mean x^2
    noise           x_t, t -> the noise in it (diffusion U-Net); likewise, of mean noise^2
    identity        x -> x (any MLP, task=identity); likewise, of mean x^2

An error is 0 for a perfect network and, if it predicts an image or numbers, 1 for one that predicts
their mean. On examples that it was not trained on it may exceed 1.
"""

import math
from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradflow.config import RunConfig
from gradflow.config.data import Shape
from gradflow.config.networks import TASKS, NetworkConfig, Objective
from gradflow.core.seeds import seeded
from gradflow.networks import Network, make_network


class Task(Protocol):
    """(network, images, labels, generator of its noise) -> (mean loss, mean error).

    each: the loss of each example, [B], in place of their mean.
    """

    def __call__(
        self,
        network: Callable[..., Tensor],
        images: Tensor,
        labels: Tensor,
        generator: torch.Generator,
        *,
        each: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """The loss has a gradient; the error has none."""
        ...


def task(name: str, *, draws_noise: bool) -> Callable[[Task], Task]:
    """A decorator: the task is the `TASK` of families that name it.

    Args:
        draws_noise: whether the task draws from its generator.
    """

    def enter(function: Task) -> Task:
        TASKS.add(name, Objective(function, draws_noise))
        return function

    return enter


def task_of(config: NetworkConfig, asked: str = "family") -> Task:
    """The task of a network's family, unless another is asked for (`RunConfig.task`).

    Raises:
        GradflowError: the family names a task that does not exist.
    """
    function: Task = _objective(config, asked).function
    return function


def draws_noise(config: NetworkConfig, asked: str = "family") -> bool:
    """Whether the task draws from its generator."""
    return _objective(config, asked).draws_noise


def _objective(config: NetworkConfig, asked: str) -> Objective:
    name = config.TASK if asked == "family" else asked
    if name not in TASKS:
        config.refuse("name", f"its task {name} is none of {', '.join(TASKS)}")
    return TASKS[name]


def in_precision(exact: Task, config: RunConfig) -> Task:
    """The task, its forward pass under bfloat16 autocast if the config says so."""
    if config.dtype != "bfloat16":
        return exact

    def rounded(*batch: Any, **options: Any) -> tuple[Tensor, Tensor]:
        with torch.autocast(config.device, torch.bfloat16):
            return exact(*batch, **options)

    return rounded


def network_of(config: RunConfig, image_shape: Shape, classes: int) -> Network:
    """The network of a run, as it is drawn from the run's seed.

    Args:
        image_shape: of an example, whatever it is.
        classes: `Source.classes`, which it has outputs for.

    With task=identity its stem and head are fixed: x -> ReLU([Wx, -Wx]) and back, W orthogonal,
    which together are the identity. So the best that the blocks can compute is their input:
    F(x) = 0 in a residual block.

    Raises:
        GradflowError: task=identity, and the width has no room for the image twice.
    """
    if config.task != "identity":
        return make_network(config.network, image_shape, classes, config.seed)
    features = math.prod(image_shape)
    if config.network.width < 2 * features:
        config.network.refuse("width", f"task=identity needs at least {2 * features}")
    network = make_network(config.network, image_shape, features, config.seed)
    generator = seeded(config.seed, "identity")
    frame = nn.init.orthogonal_(torch.empty(features, features), generator=generator)
    first = network.stem.get_submodule("linear1")
    *_, last = network.head.children()
    with torch.no_grad():
        for weight, mirrored in (
            (first.get_parameter("weight"), torch.cat([frame, -frame])),
            (last.get_parameter("weight").T, torch.cat([frame, -frame])),
        ):
            weight.zero_()
            weight[: 2 * features] = mirrored
    network.stem.requires_grad_(False)
    network.head.requires_grad_(False)
    return network


def placed(network: Network, config: RunConfig, dtype: torch.dtype) -> Network:
    """The network on the run's device, its weights of that type, channels last.

    On a CPU the 6n+2 networks step 1.1 to 1.3 times faster so; sums round in another order.
    """
    network = network.to(config.device, dtype)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    return network


@task("classify", draws_noise=False)
def classify(
    network: Callable[..., Tensor],
    images: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    *,
    each: bool = False,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the labels; the generator is not drawn from."""
    logits = network(images)
    error = (logits.detach().argmax(dim=1) != labels).double().mean()
    return F.cross_entropy(logits, labels, reduction="none" if each else "mean"), error


@task("next_token", draws_noise=False)
def next_token(
    network: Callable[..., Tensor],
    images: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    *,
    each: bool = False,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of the next token at each place, in nats per token.

    Tokens [B, T] and the next ones [B, T], both int64; the network puts out logits [B, T, V].
    """
    logits = network(images)
    error = (logits.detach().argmax(dim=2) != labels).double().mean()
    if not each:
        return F.cross_entropy(logits.flatten(0, 1), labels.flatten()), error
    return F.cross_entropy(logits.transpose(1, 2), labels, reduction="none").mean(dim=1), error


@task("regression", draws_noise=False)
def regression(
    network: Callable[..., Tensor],
    images: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    *,
    each: bool = False,
) -> tuple[Tensor, Tensor]:
    """Mean squared error of numbers [B, K].

    `gradflow.data.dataset` brings each to variance 1 over the training examples. So the mean
    squared error is itself the error: its share of the variance of the training targets, which is
    1 - R^2 of all training examples.
    """
    squares = (network(images) - labels).square().mean(dim=1)  # in float64, as the labels are
    loss = squares.mean()
    return squares if each else loss, loss.detach()


@task("identity", draws_noise=False)
def reconstruct(
    network: Callable[..., Tensor],
    images: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    *,
    each: bool = False,
) -> tuple[Tensor, Tensor]:
    """Images -> the same images, flat: the best map is the identity, see `network_of`."""
    return _regress(network(images), images.flatten(start_dim=1), each)


@task("denoise", draws_noise=True)
def denoise(
    network: Callable[..., Tensor],
    images: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    *,
    each: bool = False,
) -> tuple[Tensor, Tensor]:
    """Images with as much noise as signal (both of unit variance) -> the images."""
    return _regress(network(images + _noise_like(images, generator)), images, each)


@task("predict_noise", draws_noise=True)
def predict_noise(
    network: Callable[..., Tensor],
    images: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    *,
    each: bool = False,
) -> tuple[Tensor, Tensor]:
    """x_t = cos(pi t / 2) x + sin(pi t / 2) noise, t uniform -> the noise.

    Ho et al. 2020, eq. 14, with the cosine schedule of Nichol and Dhariwal 2021, eq. 17,
    without its offset.
    """
    times = torch.rand(len(images), generator=generator, dtype=images.dtype).to(images.device)
    angle = (math.pi / 2 * times)[:, None, None, None]
    noise = _noise_like(images, generator)
    return _regress(network(angle.cos() * images + angle.sin() * noise, times), noise, each)


def _noise_like(images: Tensor, generator: torch.Generator) -> Tensor:
    noise = torch.randn(images.shape, generator=generator, dtype=images.dtype)
    return noise.to(images.device)


def _regress(predicted: Tensor, target: Tensor, each: bool) -> tuple[Tensor, Tensor]:
    loss = F.mse_loss(predicted, target)
    error = loss.detach() / target.square().mean()
    if each:
        loss = F.mse_loss(predicted, target, reduction="none").flatten(start_dim=1).mean(dim=1)
    return loss, error
