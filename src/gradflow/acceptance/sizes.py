"""Sizes that papers print, and twins: what needs no measurement but a count."""

from functools import partial
from typing import Any

import torch

from gradflow.acceptance.claim import Basis, Claim, Sample, at_most, linear, within_share
from gradflow.acceptance.measuring import Shape, first_seed
from gradflow.config.acceptance import AcceptanceConfig
from gradflow.networks import Network, build_network, count_macs, count_parameters
from gradflow.networks.describe import describe
from gradflow.theory import depth

IMAGENET: Shape = (3, 224, 224)
OPTION_A = {
    20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018, 110: 1_727_962, 1202: 19_421_274
}  # fmt: skip
TORCHVISION = {18: ("basic", 11_689_512), 50: ("bottleneck", 25_557_032)}
TWINS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("cifar_resnet", {"depth": 20}),
    ("cifar_resnet", {"depth": 56, "placement": "full_preactivation"}),
    ("cifar_resnet", {"depth": 20, "norm": "none", "initialization": "orthogonal"}),
    ("imagenet_resnet", {"depth": 18, "shortcut": "A"}),
    ("mlp", {"depth": 30}),
    ("transformer", {"depth": 14}),
)


def wrong_counts(config: AcceptanceConfig) -> Sample:
    """How many of the networks have another number of parameters than was published."""
    wrong = 0
    for size, expected in OPTION_A.items():
        for skip in (True, False):
            network = build_network("cifar_resnet", depth=size, width=16, skip=skip)
            wrong += count_parameters(network) != expected
    for size, (block, expected) in TORCHVISION.items():
        network = build_network("imagenet_resnet", depth=size, block=block, outputs=1000)
        wrong += count_parameters(network) != expected
    return linear([wrong])


def weights_of_1001(config: AcceptanceConfig) -> Sample:
    """Parameters of the bottleneck network of depth 1001, without batch norm's."""
    network = build_network(
        "cifar_resnet",
        depth=1001,
        width=16,
        block="bottleneck",
        placement="full_preactivation",
        shortcut="B",
    )
    layers = describe(network, (3, 32, 32))
    return linear([layers[layers.kind != "BatchNorm2d"].parameters.sum()])


def macs(config: AcceptanceConfig, size: int) -> Sample:
    """Multiply-accumulates of an ImageNet ResNet for one image of 224 x 224."""
    network = build_network("imagenet_resnet", depth=size, outputs=1000)
    return linear([count_macs(network, IMAGENET)])


def path_probability(config: AcceptanceConfig, low: int, high: int) -> Sample:
    """The share of the paths through 54 blocks whose length is in [low, high]."""
    return linear([depth.path_probability(54, low, high)])


def unequal_twins(config: AcceptanceConfig) -> Sample:
    """How many tensors differ between the twins of all pairs, or costs of whole networks."""
    seed = first_seed(config)
    return linear([sum(_differences(f, options, seed) for f, options in TWINS)])


def _differences(family: str, options: dict[str, Any], seed: int) -> int:
    pair: list[Network] = [
        build_network(family, seed=seed, **{**options, "skip": skip}) for skip in (True, False)
    ]
    one, other = (network.state_dict() for network in pair)
    shared = one.keys() & other.keys()
    unequal = sum(int(not torch.equal(one[name], other[name])) for name in shared)
    costs = {count_macs(network, (3, 32, 32)) for network in pair}
    return unequal + len(one.keys() ^ other.keys()) + len(costs) - 1


CLAIMS = (
    Claim(
        "parameter counts: networks whose count is another than the published one",
        "He et al. 2015, table 6 (option A, exact); torchvision",
        "count_parameters of the 6n+2 family, depths 20 to 1202, plain and residual, and of "
        "ImageNet ResNet-18 and -50: 14 networks",
        at_most(0),
        "counts are exact",
        wrong_counts,
        Basis.PUBLISHED,
    ),
    Claim(
        "parameters of the pre-activation ResNet-1001, without batch norms' scales and shifts",
        "He et al. 2016 (10.2 M)",
        "describe, projections where shapes change. With the norms' 0.15 M it is 10.33 M: the "
        "paper does not say whether they count; that they do not was concluded from this",
        within_share(10.2e6, 0.005),
        "three digits were published",
        weights_of_1001,
        Basis.FITTED,
    ),
    *(
        Claim(
            f"multiply-accumulates of ImageNet ResNet-{size}",
            "He et al. 2015, table 1",
            "count_macs, one 3x224x224 image",
            within_share(published, 0.03),
            "published with two digits",
            partial(macs, size=size),
            Basis.PUBLISHED,
        )
        for size, published in ((18, 1.8e9), (34, 3.6e9))
    ),
    Claim(
        "twins: tensors, or costs, that differ between a plain and a residual network",
        "this suite's first invariant",
        "state_dict and count_macs of six pairs of four families (option A), one seed",
        at_most(0),
        "equal bit for bit",
        unequal_twins,
        Basis.IDENTITY,
    ),
    *(
        Claim(
            f"binomial path lengths, 54 blocks: P({low} ... {high})",
            "Veit et al. 2016",
            "theory.depth.path_probability",
            within_share(expected, 0.002),
            "published with three digits",
            partial(path_probability, low=low, high=high),
            Basis.IDENTITY,
        )
        for low, high, expected in ((5, 17, 0.00454), (19, 35, 0.980))
    ),
)
