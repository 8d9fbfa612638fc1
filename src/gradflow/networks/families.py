"""One public door to every family."""

import math
from dataclasses import fields
from typing import Any

import torch

from gradflow.config.networks import (
    FAMILIES,
    CifarResNetConfig,
    DiffusionUNetConfig,
    ImageNetResNetConfig,
    MlpConfig,
    NetworkConfig,
    TransformerConfig,
    UNetConfig,
)
from gradflow.core.errors import GradflowError
from gradflow.networks.initialization import initialize
from gradflow.networks.mlp import mlp
from gradflow.networks.network import Network
from gradflow.networks.resnet import cifar_resnet, imagenet_resnet
from gradflow.networks.transformer import transformer
from gradflow.networks.unet import unet


def build_network(
    family: str,
    *,
    image_shape: tuple[int, int, int] = (3, 32, 32),
    outputs: int = 10,
    seed: int = 0,
    **options: Any,
) -> Network:
    """A network of one of the families, initialised from `seed`, in float32 on the CPU.

    Args:
        family: mlp, cifar_resnet, imagenet_resnet, transformer, unet or diffusion_unet.
        image_shape: channels, height and width of what comes in.
        outputs: classes; a U-Net puts out an image and has none.
        options: the words of conf/network/: depth, width, skip, norm, activation, ...

    Returns:
        A network with `stem`, `blocks` (in forward order, each with `.branch`, `.shortcut`
        and `.skip`) and `head`. Networks that differ in `skip` alone have the same tensors.

    Raises:
        GradflowError: an unknown family or option, a value out of its range, or a
            combination that does not exist.
    """
    if family not in FAMILIES:
        raise GradflowError(f"family={family}: choose one of {', '.join(FAMILIES)}")
    valid = sorted({entry.name for entry in fields(FAMILIES[family])} - {"name"})
    if unknown := sorted(set(options) - set(valid)):
        raise GradflowError(f"{unknown[0]}: no option of {family}; valid: {', '.join(valid)}")
    return make_network(FAMILIES[family](**options), image_shape, outputs, seed)


def make_network(
    config: NetworkConfig, image_shape: tuple[int, int, int], outputs: int, seed: int
) -> Network:
    """The network that a config describes; torch's global random state is left untouched."""
    with torch.random.fork_rng(devices=[]):  # torch's own initialisation draws from it
        network = _assemble(config, image_shape, outputs)
    initialize(network, config, seed)
    return network


def _assemble(config: NetworkConfig, image: tuple[int, int, int], outputs: int) -> Network:
    match config:
        case CifarResNetConfig():
            return cifar_resnet(config, image[0], outputs)
        case ImageNetResNetConfig():
            return imagenet_resnet(config, image[0], outputs)
        case MlpConfig():
            return mlp(config, math.prod(image), outputs)
        case TransformerConfig():
            return transformer(config, image, outputs)
        case UNetConfig():
            return unet(config, image, timed=isinstance(config, DiffusionUNetConfig))
    raise TypeError(f"no family builds {config!r}")
