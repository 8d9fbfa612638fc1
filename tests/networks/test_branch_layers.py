"""Shortcuts over one, two or three layers: block=single, basic, triple."""

import copy

import pytest
import torch
from torch import nn

from gradflow.core.errors import GradflowError
from gradflow.networks import build_network, count_parameters

LAYERS = {"single": 1, "basic": 2, "triple": 3}


def convolutions(network):
    return [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d | nn.Linear)]


def drawn(block, *, depth=20, skip, family="cifar_resnet", **options):
    network = build_network(family, depth=depth, width=4, block=block, skip=skip, **options)
    return network.double()


@pytest.mark.parametrize("block", LAYERS)
def test_a_depth_is_made_of_the_same_layers_whatever_the_shortcut_spans(block):
    network = drawn(block, skip=True)
    assert len(network.blocks) == 18 // LAYERS[block]
    for part in network.blocks:
        found = [m for m in part.branch.modules() if isinstance(m, nn.Conv2d)]
        assert len(found) == LAYERS[block]
    shapes = [tuple(m.weight.shape) for m in convolutions(network)]
    assert shapes == [tuple(m.weight.shape) for m in convolutions(drawn("basic", skip=True))]
    assert count_parameters(network) == count_parameters(drawn("basic", skip=True))


@pytest.mark.parametrize("block", ["single", "triple"])
@pytest.mark.parametrize("training", [True, False])
def test_without_skips_all_lengths_are_one_network(block, training):
    """After the first norm each layer is conv, norm, ReLU, wherever the blocks begin."""
    plain, other = drawn("basic", skip=False), drawn(block, skip=False)
    for one, two in zip(convolutions(plain), convolutions(other), strict=True):
        two.load_state_dict(one.state_dict())
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    expected, found = plain.train(training)(images), other.train(training)(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_shortcut_over_one_layer_is_written_by_hand():
    network = drawn("single", depth=8, skip=True).eval()
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    expected = x = network.stem(x)
    for block in network.blocks:
        conv, norm = (block.branch.get_submodule(name) for name in ("conv1", "norm1"))
        carried = x
        if conv.stride == (2, 2):
            half = x[:, :, ::2, ::2]
            carried = torch.cat([half, torch.zeros_like(half)], dim=1)
        expected = torch.relu(carried + norm(conv(x)))
        x = block(x)
        torch.testing.assert_close(x, expected, rtol=0, atol=0)


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("block", LAYERS)
@pytest.mark.parametrize("family", ["unet", "diffusion_unet"])
def test_u_nets_have_all_lengths(family, block, skip):
    depth = 5 * LAYERS[block] * 2 + 2
    network = drawn(block, depth=depth, skip=skip, family=family)
    twin = drawn(block, depth=depth, skip=not skip, family=family)
    ours, theirs = network.state_dict(), twin.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    images = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    times = [torch.rand(2, dtype=torch.float64)] if family == "diffusion_unet" else []
    output = copy.deepcopy(network)(images, *times)
    assert output.shape == images.shape
    assert torch.autograd.grad(output.square().sum(), network.parameters(), allow_unused=True)


@pytest.mark.parametrize(
    ("block", "depth", "told"),
    [
        ("single", 12, r"3n\+2; the nearest are 11 and 14"),
        ("triple", 20, None),
        ("triple", 14, r"9n\+2; the nearest are 11 and 20"),
    ],
)
def test_depths_that_a_length_does_not_have_are_refused(block, depth, told):
    if told is None:
        assert len(drawn(block, depth=depth, skip=True).blocks) == 6
        return
    with pytest.raises(GradflowError, match=told):
        drawn(block, depth=depth, skip=True)


@pytest.mark.parametrize("options", [{"initialization": "fixup", "norm": "none"}, {"norm": "none"}])
@pytest.mark.parametrize("placement", ["original", "full_preactivation"])
@pytest.mark.parametrize("block", ["single", "triple"])
def test_other_placements_and_fixup_have_these_lengths_too(block, placement, options):
    if "initialization" in options and placement != "original":
        return
    network = drawn(block, skip=True, placement=placement, **options)
    assert network(torch.randn(2, 3, 16, 16, dtype=torch.float64)).shape == (2, 10)
