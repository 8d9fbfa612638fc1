"""What a network is trained to do, by family or as asked: its loss and error, of a batch.

    classification  cross-entropy in nats; share of wrong answers
    denoising       x + noise -> x (U-Net); mean squared error; its share of mean x^2
    noise           x_t, t -> the noise in it (diffusion U-Net); likewise, of mean noise^2
    identity        x -> x (any MLP, task=identity); likewise, of mean x^2

An error is 0 for a perfect network and, where a network predicts an image, 1 for one that
predicts nothing.
"""

import math
from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradflow.config.networks import DiffusionUNetConfig, NetworkConfig, UNetConfig


class Task(Protocol):
    """(network, images, labels, generator of its noise) -> (mean loss, mean error).

    each: the loss of each example, [B], in place of their mean.
    """

    def __call__(
        self,
        network: nn.Module,
        images: Tensor,
        labels: Tensor,
        generator: torch.Generator,
        *,
        each: bool = False,
    ) -> tuple[Tensor, Tensor]: ...


def task_of(config: NetworkConfig, asked: str = "family") -> Task:
    """The task of a network's family, unless another is asked for (`RunConfig.task`)."""
    if asked == "identity":
        return reconstruct
    if isinstance(config, DiffusionUNetConfig):
        return predict_noise
    return denoise if isinstance(config, UNetConfig) else classify


def outputs_of(asked: str, image_shape: Sequence[int], classes: int) -> int:
    """How many numbers a network is to put out: classes, or the numbers of an image."""
    return math.prod(image_shape) if asked == "identity" else classes


def classify(
    network: nn.Module,
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


def reconstruct(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    *,
    each: bool = False,
) -> tuple[Tensor, Tensor]:
    """Images -> the same images, flat: the best map is the identity."""
    return _regress(network(images), images.flatten(start_dim=1), each)


def denoise(
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    generator: torch.Generator,
    *,
    each: bool = False,
) -> tuple[Tensor, Tensor]:
    """Images with as much noise as signal (both of unit variance) -> the images."""
    return _regress(network(images + _noise_like(images, generator)), images, each)


def predict_noise(
    network: nn.Module,
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
