"""Every (family, block, norm, skip) that is valid builds, trains a step, has its twin, is measured;
every other is refused with the options that would fit."""

import copy
import itertools
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import gradflow
from gradflow.config import transformers
from gradflow.config.blocks import PLACEMENTS, SAME_WITHOUT_NORM
from gradflow.config.registry import GROUPS
from gradflow.core.errors import GradflowError
from gradflow.networks import Network, build_network, count_macs, count_parameters
from gradflow.networks.build import assemble
from gradflow.probes import Probes
from gradflow.training.tasks import task_of

FAMILIES = {name: choice.config for name, choice in GROUPS["network"].items()}
del FAMILIES["custom"]  # is what its builder builds: tests/networks/test_custom.py
pytestmark = pytest.mark.numeric

NORMS = ("none", "batch", "layer", "group", "rms")
CONVOLUTIONAL = {
    "block": ("basic", "bottleneck"),
    "placement": PLACEMENTS,
    "shortcut": ("A", "B", "C", "exclusive_gate", "shortcut_gate", "dropout"),
}
AXES = {
    "cifar_resnet": CONVOLUTIONAL,
    "imagenet_resnet": {
        "depth": (18, 50),
        "placement": tuple(PLACEMENTS)[::4],
        "shortcut": ("A", "B"),
    },
    "unet": CONVOLUTIONAL,
    "diffusion_unet": CONVOLUTIONAL,
    "mlp": {"layers": (1, 2), "placement": PLACEMENTS, "shortcut": ("A", "B", "C")},
    "transformer": {"placement": transformers.PLACEMENTS, "qk_norm": (False, True)},
    "language_model": {"connection": transformers.CONNECTIONS},
}
DEPTHS = {
    ("cifar_resnet", "basic"): 8,
    ("cifar_resnet", "bottleneck"): 11,
    ("unet", "basic"): 12,
    ("unet", "bottleneck"): 17,
    ("diffusion_unet", "basic"): 12,
    ("diffusion_unet", "bottleneck"): 17,
    ("mlp", None): 8,
    ("transformer", None): 6,
    ("language_model", None): 6,
}
USUAL = {"language_model": (1, 1, 64)}
# What the options' own documentation rules out; everything else must build.
REFUSED = {
    "choose one of B, C": lambda o: o["family"].endswith("unet") and o.get("shortcut") == "A",
    "without a norm; use that": lambda o: (
        o["norm"] == "none" and o.get("placement") in SAME_WITHOUT_NORM
    ),
    "no shortcut to gate or drop": lambda o: (
        not o["skip"] and o.get("shortcut") in ("exclusive_gate", "shortcut_gate", "dropout")
    ),
    "choose one of layer, rms, dyt, none": lambda o: (
        o["family"] in ("transformer", "language_model") and o["norm"] in ("batch", "group")
    ),
    "has these norms; use false": lambda o: o.get("qk_norm") and o["placement"] == "hybrid",
    "needs a norm; use norm=layer": lambda o: o.get("qk_norm") and o["norm"] == "none",
    "places norms; use pre_norm": lambda o: (
        o["family"] == "transformer"
        and o["norm"] == "none"
        and o["placement"] in transformers.NORMS_ALONE
    ),
}


def combinations():
    for family, axes in AXES.items():
        for norm, skip, *values in itertools.product(NORMS, (True, False), *axes.values()):
            options = {
                "family": family,
                "norm": norm,
                "skip": skip,
                **dict(zip(axes, values, strict=True)),
            }
            if "depth" not in options:
                options["depth"] = DEPTHS[family, options.get("block")]
            yield options


def reason_to_refuse(options):
    return next((told for told, holds in REFUSED.items() if holds(options)), None)


def label(options):
    return "-".join(str(v) for v in options.values())


def kind(options):
    return options["family"], options.get("block"), options["norm"], options["skip"]


ALL = list(combinations())
# All of them are built in the slow tests; always one of every kind, and a ninth of the rest.
SOME = list({**{kind(o): o for o in ALL}, **dict(enumerate(ALL[::9]))}.values())


def build(options, **more):
    side = 16 if options["family"] == "imagenet_resnet" else 8
    shape = (1, 1, side**2) if options["family"] == "language_model" else (1, side, side)
    return build_network(image_shape=shape, **{"width": 4, **options, **more})


def check(options):
    if told := reason_to_refuse(options):
        with pytest.raises(GradflowError, match=told):
            build(options)
        return
    network = build(options)
    assert isinstance(network, Network)
    assert all(block.skip == options["skip"] for block in network.blocks)
    step(network, options)
    twin = {**options, "skip": not options["skip"]}
    if reason_to_refuse(twin) is None:
        ours, theirs = build(options).state_dict(), build(twin).state_dict()
        assert list(ours) == list(theirs)
        assert all(map(torch.equal, ours.values(), theirs.values()))


def step(network, options):
    """Forward, backward, every probe on; the probe's norms are there, its hooks are gone."""
    side = 16 if options["family"] == "imagenet_resnet" else 8
    images, labels = torch.randn(4, 1, side, side), torch.arange(4)
    if options["family"] == "language_model":
        images = labels = torch.arange(4 * side**2).reshape(4, side**2) % 7
    config_class = FAMILIES[options["family"]]
    known = {entry.name for entry in fields(config_class)}
    config = config_class(**{k: v for k, v in options.items() if k in known})
    with Probes(network) as probes:
        probes.arm(0, details=True)
        loss, error = task_of(config)(network, images, labels, torch.Generator().manual_seed(0))
        loss.backward()
    assert torch.isfinite(loss)
    assert error.ndim == 0
    found = {name: table.to_pandas() for name, table in probes.tables().items()}
    blocks = found["blocks"]
    assert np.isfinite(blocks.input_grad_norm).all()
    assert np.isfinite(blocks[["input_rms", "branch_rms"]][:-1]).all(axis=None)
    assert len(blocks) == len(network.blocks) + 1
    layers = found["layers"]
    uncalled = layers.layer_name.str.contains(r"\.(?:shortcut|gate)\b")  # of a plain twin
    used = layers[options["skip"] | ~uncalled]
    assert np.isfinite(used.grad_norm).all()
    moved = blocks[:-1].input_grad_norm > 0
    if not options["skip"]:
        assert (blocks.skip_share[:-1][moved] == 0).all()
        assert (found["network_details"].path_grad_norm == 0).all()
    assert np.isfinite(blocks.skip_share[:-1][moved]).all()
    assert not any(m._forward_pre_hooks or m._backward_hooks for m in network.modules())


@pytest.mark.parametrize("options", SOME, ids=label)
def test_some_combinations(options):
    check(options)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_all_combinations(family):
    for options in ALL:
        if options["family"] == family:
            check(options)


def test_every_family_is_covered():
    assert set(AXES) == set(FAMILIES)
    assert {options["family"] for options in SOME} == set(FAMILIES)
    assert {kind(options) for options in SOME} == {kind(options) for options in ALL}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"family": "vgg"}, "family=vgg: choose one of cifar_resnet, custom, diffusion_unet"),
        ({"family": "mlp", "dpeth": 3}, "dpeth: no option of mlp; valid: activation, bias"),
        ({"family": "mlp", "depth": 9}, r"depth must be 2n\+2; the nearest are 8 and 10"),
        (
            {"family": "cifar_resnet", "depth": 12, "block": "bottleneck"},
            r"9n\+2; the nearest are 11",
        ),
        (
            {"family": "imagenet_resnet", "depth": 19},
            "depth=19: choose one of 18, 34, 50, 101, 152",
        ),
        ({"family": "imagenet_resnet", "depth": 50, "block": "basic"}, "made of block=bottleneck"),
        ({"family": "transformer", "width": 30}, "heads=4: must divide width=30"),
        ({"family": "transformer", "patch": 3}, "must divide the image's sides, 8 and 8"),
        ({"family": "cifar_resnet", "shortcut": "exclusive_gate", "skip": False}, "use A, B or C"),
        (
            {"family": "mlp", "depth": 6, "width": 8, "widths": (8, 4), "shortcut": "A"},
            "blocks.1: option A cannot shrink 8 channels to 4; use B or C",
        ),
        ({"family": "mlp", "depth": 6, "widths": (8,)}, "has 2 blocks; give a width for each"),
        (
            {
                "family": "cifar_resnet",
                "initialization": "delta_orthogonal",
                "block": "bottleneck",
                "depth": 11,
            },
            "bottleneck reduces 4C to C",
        ),
        ({"family": "mlp", "initialization": "looks_linear", "width": 5}, "width=5 must be even"),
        (
            {"family": "mlp", "initialization": "looks_linear", "activation": "tanh"},
            "activation=relu",
        ),
        ({"family": "cifar_resnet", "initialization": "fixup"}, "use norm=none, not batch"),
        (
            {"family": "mlp", "scaling": "rezero", "skip": False},
            "skip=false passes nothing else on",
        ),
        (
            {"family": "mlp", "survival": 0.5, "skip": False},
            "leaves nothing where a branch is dropped",
        ),
        ({"family": "language_model"}, r"takes no images of 1,8,8; image_shape=\[1,1,64\] is of"),
    ],
)
def test_impossible_combinations_name_what_fits(options, told):
    with pytest.raises(GradflowError, match=told):
        build_network(image_shape=(1, 8, 8), **options)


def shapes(network, image):
    """The shape after the stem and after each stage's last block."""
    seen = []
    hooks = [
        m.register_forward_hook(lambda _, __, y: seen.append(tuple(y.shape)))
        for m in (network.stem, *network.blocks)
    ]
    out = network(image)
    for hook in hooks:
        hook.remove()
    return list(dict.fromkeys(seen)), tuple(out.shape)


def test_small_resnet_shapes():
    """systems.md row 13."""
    network = build_network("cifar_resnet", depth=14, width=32, shortcut="B")
    assert len(network.blocks) == 6
    stages, out = shapes(network, torch.randn(2, 3, 32, 32))
    assert stages == [(2, 32, 32, 32), (2, 64, 16, 16), (2, 128, 8, 8)]
    assert out == (2, 10)
    assert network.head[0](torch.zeros(2, 128, 8, 8)).shape == (2, 128, 1, 1)


def test_cifar_resnet18_shapes():
    """systems.md row 14."""
    network = build_network("cifar_resnet", depth=18, width=64, stages=4, shortcut="B")
    stages, out = shapes(network, torch.randn(4, 3, 32, 32))
    assert stages == [(4, 64, 32, 32), (4, 128, 16, 16), (4, 256, 8, 8), (4, 512, 4, 4)]
    assert out == (4, 10)
    assert count_parameters(network) == 11_173_962  # torch's ResNet-18 less its other stem and head


@pytest.mark.parametrize(("depth", "factor"), [(18, 1), (50, 4)])
def test_imagenet_shapes(depth, factor):
    """systems.md row 15."""
    network = build_network("imagenet_resnet", image_shape=(3, 224, 224), outputs=7, depth=depth)
    assert network.stem[:3](torch.zeros(1, 3, 224, 224)).shape == (1, 64, 112, 112)
    stages, out = shapes(network, torch.randn(1, 3, 224, 224))
    expected = [(1, factor * c, s, s) for c, s in ((64, 56), (128, 28), (256, 14), (512, 7))]
    assert [s for s in stages if s != (1, 64, 56, 56) or factor == 1] == expected
    assert out == (1, 7)


@pytest.mark.parametrize(
    ("depth", "parameters"),
    [
        (18, 11_689_512),
        (34, 21_797_672),
        (50, 25_557_032),
        (101, 44_549_160),
        (152, 60_192_808),
    ],
)
def test_imagenet_parameters(depth, parameters):
    """The counts of the published implementation in torchvision, of 1000 outputs."""
    with torch.device("meta"):
        network = assemble(FAMILIES["imagenet_resnet"](depth=depth), (3, 224, 224), None)
    assert count_parameters(network) == parameters


def test_parameters_of_1202_layers():
    """He et al. 2015, table 6: 19.4 M."""
    with torch.device("meta"):
        config = FAMILIES["cifar_resnet"](depth=1202)
        network = assemble(config, (3, 32, 32), 10)
    assert count_parameters(network) == 19_421_274


def test_macs_of_a_bottleneck_network_by_hand():
    # Depth 11, width 4, 3x32x32, one bottleneck a stage, option A.
    stem = 3 * 4 * 9 * 32**2
    stage1 = (4 * 4 + 4 * 4 * 9 + 4 * 16) * 32**2
    stage2 = 16 * 8 * 32**2 + (8 * 8 * 9 + 8 * 32) * 16**2
    stage3 = 32 * 16 * 16**2 + (16 * 16 * 9 + 16 * 64) * 8**2
    network = build_network("cifar_resnet", depth=11, width=4, block="bottleneck")
    assert count_macs(network, (3, 32, 32)) == stem + stage1 + stage2 + stage3 + 64 * 10


def test_macs_of_a_transformer_by_hand():
    # Width 8, 16 tokens: patches of 4 pixels, then qkv, output and the MLP.
    network = build_network("transformer", image_shape=(1, 8, 8), depth=6, width=8, heads=2)
    layers = 16 * (4 * 8 + 8 * 24 + 8 * 8 + 2 * 8 * 32) + 8 * 10
    table = gradflow.describe(network, (1, 8, 8))
    assert table.macs.sum() == layers
    assert count_macs(network, (1, 8, 8)) == layers


@pytest.mark.parametrize("norm", ["none", "layer"])
@pytest.mark.parametrize("family", FAMILIES)
def test_macs_are_those_that_torch_counts(family, norm):
    """torch.utils.flop_counter, two operations per multiply-accumulate, on the meta device.

    It is not what counts a run's: its first use imports the compiler, .85 s of each start, and on
    a CPU it counts no attention.
    """
    shape = USUAL.get(family, (3, 32, 32))
    network = build_network(family, image_shape=shape, norm=norm, width=8, outputs=10)
    ghost = copy.deepcopy(network).to("meta")
    inputs = [torch.zeros(1, *shape, device="meta")]
    if family == "diffusion_unet":
        inputs.append(torch.zeros(1, device="meta"))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        ghost(*inputs)
    by_operation = {
        str(op): count // 2 for op, count in counter.get_flop_counts()["Global"].items()
    }
    attention = by_operation.pop("aten.bmm", 0)
    assert count_macs(network, shape) == sum(by_operation.values())
    tokens = {"transformer": 16 * 16, "language_model": 64}.get(family, 0)
    assert attention == len(network.blocks) // 2 * 2 * tokens**2 * 8


@pytest.mark.parametrize("family", FAMILIES)
def test_describe_counts_every_parameter(family):
    shape = USUAL.get(family, (3, 32, 32))
    network = build_network(family, image_shape=shape)
    table = gradflow.describe(network, shape)
    assert table.parameters.sum() == count_parameters(network)
    assert network.training
