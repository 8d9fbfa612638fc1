"""One public door to every family."""

from dataclasses import fields
from typing import Any

import torch
from torch import nn

from gradflow.config.data import Shape
from gradflow.config.networks import NetworkConfig
from gradflow.config.registry import GROUPS, function_of
from gradflow.config.validation import LARGEST_SEED, typed, whole
from gradflow.core.errors import GradflowError, shown
from gradflow.core.seeds import derive_seed
from gradflow.networks.initialization import initialize
from gradflow.networks.network import Network


def build_network(
    family: str,
    *,
    image_shape: tuple[int, int, int] = (3, 32, 32),
    outputs: int | None = None,
    seed: int = 0,
    **options: Any,
) -> Network:
    """A network of one of the families, initialized from `seed`, in float32 on the CPU.

    Args:
        family: mlp, cifar_resnet, imagenet_resnet, transformer, language_model, unet,
            diffusion_unet or custom.
        image_shape: channels, height and width of the images; (1, 1, T) for texts of T tokens.
        outputs: classes; None: 10, 1000 of imagenet_resnet, or 256 tokens. A U-Net puts out an
            image and has none.
        options: the words of conf/network/: depth, width, skip, norm, activation, ...

    Returns:
        A network with `stem`, `blocks` (in forward order, each with `.branch`, `.shortcut`
        and `.skip`) and `head`. Networks that differ in `skip` alone have the same tensors.

    Raises:
        GradflowError: an unknown family or option, a value out of its range, or a
            combination that does not exist.
    """
    families = GROUPS["network"]
    if not isinstance(family, str) or family not in families:
        raise GradflowError(f"family={shown(family)}: choose one of {', '.join(families)}")
    config = families[family].config
    valid = sorted({entry.name for entry in fields(config)} - {"name"})
    if unknown := sorted(set(options) - set(valid)):
        raise GradflowError(f"{unknown[0]}: no option of {family}; valid: {', '.join(valid)}")
    made = config(**options)
    assert isinstance(made, NetworkConfig)
    seed = whole("seed", seed, 0, LARGEST_SEED)
    outputs = None if outputs is None else whole("outputs", outputs, 1)
    return make_network(made, image_shape_of(image_shape), outputs, seed)


def image_shape_of(shape: Any) -> tuple[int, int, int]:
    """Three whole numbers from 1 on.

    Raises:
        GradflowError: it is anything else.
    """
    try:
        channels, height, width = typed(list(shape), tuple[int, int, int])
    except (TypeError, ValueError) as error:
        raise GradflowError(
            f"image_shape={shown(shape)}: must be channels, height and width, such as (3, 32, 32)"
        ) from error
    return whole("channels", channels, 1), whole("height", height, 1), whole("width", width, 1)


def make_network(
    config: NetworkConfig, image_shape: Shape, outputs: int | None, seed: int
) -> Network:
    """The network that a config describes; torch's global random state is left untouched.

    Args:
        outputs: None: as many as the family has by default.

    Raises:
        GradflowError: the network does not fit the images, or nobody registered a builder for
            the config's class.
    """
    with torch.random.fork_rng(devices=[]):  # torch's own initialization draws from it
        torch.manual_seed(derive_seed(seed, "builder"))
        network = assemble(config, image_shape, outputs)
    initialize(network, config, seed)
    return network


def assemble(config: NetworkConfig, image_shape: Shape, outputs: int | None) -> Network:
    """The same before `initialize`; on the meta device if that is torch's default device."""
    outputs = config.OUTPUTS if outputs is None else outputs
    network = function_of(config)(config, image_shape, outputs)
    if not isinstance(network, Network):
        config.refuse("name", f"built {type(network).__name__}, not a Network of blocks")
    if any(isinstance(p, nn.parameter.UninitializedParameter) for p in network.parameters()):
        config.refuse("name", "built a lazy layer, which has no weights yet; give it its size")
    if any(block.skip != config.skip for block in network.blocks):
        config.refuse("skip", "the builder gave some block another skip")
    return network
