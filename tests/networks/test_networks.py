"""The 6n+2 family: exact sizes, twins, and an independent functional rewrite."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gradflow.networks import build_network, count_macs, count_parameters
from gradflow.networks.families.cifar_resnet import CifarResNetConfig
from gradflow.networks.layers import Weighted, layer_stack
from gradflow.networks.shortcuts import PaddedShortcut

pytestmark = pytest.mark.numeric


def build(depth=8, width=4, skip=True, norm="batch", channels=3, seed=0):
    return build_network(
        "cifar_resnet",
        image_shape=(channels, 32, 32),
        seed=seed,
        depth=depth,
        width=width,
        skip=skip,
        norm=norm,
    )


@pytest.mark.parametrize(
    ("depth", "parameters"),
    [(20, 269_722), (32, 464_154), (44, 658_586), (56, 853_018), (110, 1_727_962)],
)
@pytest.mark.parametrize("skip", [True, False])
def test_parameter_counts_of_the_paper(depth, parameters, skip):
    """He et al. 2015, table 6, exact for option A and for the plain twin."""
    assert count_parameters(build(depth, 16, skip)) == parameters


def test_depth_counts_the_weighted_layers():
    for depth in (8, 20, 56):
        weighted = [
            m for m in build(depth).modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)
        ]
        assert len(weighted) == depth


def test_macs_counted_by_hand():
    # Depth 8, width 4, 3x32x32: stem, two convolutions a stage (the first of stages 2 and 3
    # halves the image and doubles the channels), and the Linear layer.
    stem = 3 * 4 * 9 * 32 * 32
    stage1 = 2 * (4 * 4 * 9 * 32 * 32)
    stage2 = (4 * 8 * 9 + 8 * 8 * 9) * 16 * 16
    stage3 = (8 * 16 * 9 + 16 * 16 * 9) * 8 * 8
    assert count_macs(build(8, 4), (3, 32, 32)) == stem + stage1 + stage2 + stage3 + 16 * 10


@settings(deadline=None, max_examples=25)
@given(
    depth=st.sampled_from([8, 14, 20, 26]),
    width=st.integers(1, 9),
    norm=st.sampled_from(["batch", "none"]),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 2**40),
)
def test_twins_start_from_identical_tensors(depth, width, norm, channels, seed):
    """Invariant 1: same names, shapes and values; the skip is one flag."""
    residual = build(depth, width, True, norm, channels, seed)
    plain = build(depth, width, False, norm, channels, seed)
    ours, theirs = residual.state_dict(), plain.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert [type(m) for m in residual.modules()] == [type(m) for m in plain.modules()]
    assert all(block.skip for block in residual.blocks)
    assert not any(block.skip for block in plain.blocks)


def test_deeper_network_keeps_the_tensors_it_shares():
    shallow, deep = build(8).state_dict(), build(14).state_dict()
    assert torch.equal(shallow["stem.conv1.weight"], deep["stem.conv1.weight"])


def test_seeds_differ_and_global_random_state_is_left_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = build(seed=0), build(seed=1)
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(first.stem.conv1.weight, second.stem.conv1.weight)


def test_initial_weights_have_the_stated_variance():
    """He et al. 2015b, eq. 14: variance 2 / (9 * out_channels)."""
    network = build(20, 64)
    weight = network.blocks[1].branch.conv1.weight.detach().double()
    expected = 2 / (9 * 64)
    sampling_error = expected * (2 / weight.numel()) ** 0.5  # of a Gaussian's sample variance
    assert abs(weight.var().item() - expected) < 5 * sampling_error


def rewrite(state, x, blocks, skip, norm, training):
    """The layer table of He et al. 2015, section 4.2, from weights alone, in plain functions."""

    def conv(name, x, stride):
        return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), stride, 1)

    def normalise(name, x):
        if norm == "none":
            return x
        axes = (0, 2, 3)
        if training:
            mean, var = x.mean(axes), x.var(axes, unbiased=False)
        else:
            mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        unit = (x - mean[:, None, None]) / torch.sqrt(var[:, None, None] + 1e-5)
        return unit * state[f"{name}.weight"][:, None, None] + state[f"{name}.bias"][:, None, None]

    x = normalise("stem.norm1", conv("stem.conv1", x, 1)).clamp(min=0)
    for index in range(3 * blocks):
        stride = 2 if index in (blocks, 2 * blocks) else 1
        name = f"blocks.{index}.branch"
        h = normalise(f"{name}.norm1", conv(f"{name}.conv1", x, stride)).clamp(min=0)
        h = normalise(f"{name}.norm2", conv(f"{name}.conv2", h, 1))
        if skip:
            shortcut = x[:, :, ::stride, ::stride]
            h[:, : shortcut.shape[1]] += shortcut
        x = h.clamp(min=0)
    return x.mean((2, 3)) @ state["head.2.weight"].T + state["head.2.bias"]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("skip", [True, False])
def test_equals_a_functional_rewrite_for_arbitrary_weights(skip, norm, training):
    network = build(14, 4, skip, norm).double().train(training)
    generator = torch.Generator().manual_seed(1)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator, dtype=torch.float64) / 2)
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    x = torch.randn(5, 3, 12, 12, generator=generator, dtype=torch.float64)
    expected = rewrite(state, x, 2, skip, norm, training)
    torch.testing.assert_close(network(x), expected, rtol=1e-12, atol=1e-12)


def test_option_a_against_numpy():
    x = torch.arange(2 * 3 * 5 * 4, dtype=torch.float64).reshape(2, 3, 5, 4)
    expected = np.zeros((2, 6, 3, 2))
    expected[:, :3] = x.numpy()[:, :, ::2, ::2]
    np.testing.assert_array_equal(PaddedShortcut(3, 2)(x).numpy(), expected)


def test_no_layer_works_in_place():
    """An in-place layer would corrupt what a probe reads."""
    assert not any(getattr(module, "inplace", False) for module in build().modules())


def test_convolutions_have_biases_only_without_a_norm():
    for norm, bias, present in (
        ("batch", None, False),
        ("none", None, True),
        ("batch", True, True),
    ):
        config = CifarResNetConfig(norm=norm, bias=bias)
        conv = layer_stack("cna", config, 3, [Weighted(4)], dims=2).conv1
        assert (conv.bias is not None) == present
