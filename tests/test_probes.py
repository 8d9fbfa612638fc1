"""Gradient norms against hand derivations, and proof that measuring changes nothing."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradflow.config.schema import ProbeConfig
from gradflow.errors import GradflowError
from gradflow.networks import build_network
from gradflow.networks.blocks import Block
from gradflow.networks.network import Network
from gradflow.probes import GradientProbe, fires


def linear_chain(weights, skip):
    """A network of bias-free Linear layers: stem, one a block, head."""
    layers = []
    for weight in weights:
        layer = nn.Linear(*weight.shape[::-1], bias=False).double()
        layer.weight = nn.Parameter(torch.from_numpy(weight.copy()))
        layers.append(layer)
    blocks = [Block(layer, nn.Identity(), nn.Identity(), skip) for layer in layers[1:-1]]
    return Network(layers[0], blocks, layers[-1], checkpointed=False)


@pytest.mark.parametrize("skip", [False, True])
def test_norms_of_a_deep_linear_chain_derived_by_hand(skip):
    """loss = sum(c * h_L): with A_l = W_l (+ I), dL/dh_{l-1} = A_l^T dL/dh_l and
    dL/dW_l = dL/dh_l h_{l-1}^T; in NumPy, float64."""
    rng = np.random.default_rng(0)
    width, depth, batch = 6, 12, 3
    weights = [rng.standard_normal((width, width)) / 2 for _ in range(depth)]
    x = rng.standard_normal((batch, width))
    c = rng.standard_normal((batch, width))

    identity = np.eye(width) if skip else np.zeros((width, width))
    maps = [weights[0], *(w + identity for w in weights[1:-1]), weights[-1]]
    states = [x]
    for matrix in maps:
        states.append(states[-1] @ matrix.T)
    gradient, layer_norms, input_norms = c, [], []
    for weight_index in reversed(range(depth)):
        layer_norms.append(np.linalg.norm(gradient.T @ states[weight_index]))
        gradient = gradient @ maps[weight_index]
        input_norms.append(np.linalg.norm(gradient))

    network = linear_chain(weights, skip)
    with GradientProbe(network) as probe:
        probe.arm()
        (network(torch.from_numpy(x)) * torch.from_numpy(c)).sum().backward()
        found = probe.read()
    np.testing.assert_allclose(found.layers.numpy(), layer_norms[::-1], rtol=1e-12)
    # The stem's own input is not a block's: depth - 1 inputs, the head's last.
    np.testing.assert_allclose(found.block_inputs.numpy(), input_norms[::-1][1:], rtol=1e-12)


def train_three_steps(probed, raise_at=None):
    network = build_network("cifar_resnet", image_shape=(1, 8, 8), depth=14, width=4)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, fused=True)
    generator = torch.Generator().manual_seed(0)
    seen = []

    def step(probe):
        images = torch.randn(16, 1, 8, 8, generator=generator)
        labels = torch.randint(10, (16,), generator=generator)
        if probe:
            probe.arm()
        loss = F.cross_entropy(network(images), labels)
        loss.backward()
        if raise_at == len(seen):
            raise RuntimeError("interrupted")
        if probe:
            probe.read()
        seen.append((loss.detach(), [p.grad.clone() for p in network.parameters()]))
        optimizer.step()
        optimizer.zero_grad()

    if probed:
        with GradientProbe(network) as probe:
            for _ in range(3):
                step(probe)
    else:
        for _ in range(3):
            step(None)
    return network, seen


def test_measuring_changes_nothing():
    """Invariant 2: losses, gradients and weights are bitwise equal with the probe and without."""
    bare, bare_seen = train_three_steps(probed=False)
    measured, measured_seen = train_three_steps(probed=True)
    for (loss, gradients), (other_loss, other_gradients) in zip(
        bare_seen, measured_seen, strict=True
    ):
        assert torch.equal(loss, other_loss)
        assert all(map(torch.equal, gradients, other_gradients))
    assert all(map(torch.equal, bare.state_dict().values(), measured.state_dict().values()))


def count_hooks(network):
    return sum(
        len(m._forward_pre_hooks) + len(m._forward_hooks) + len(m._backward_hooks)
        for m in network.modules()
    )


def test_hooks_are_gone_after_the_probe():
    network, _ = train_three_steps(probed=True)
    assert count_hooks(network) == 0


def test_hooks_are_gone_after_an_exception():
    network = build_network("cifar_resnet", image_shape=(1, 8, 8), depth=8, width=2)

    def fail():
        with GradientProbe(network) as probe:
            probe.arm()
            assert count_hooks(network) > 0
            network(torch.zeros(2, 1, 8, 8)).sum().backward()
            raise RuntimeError("in the training step")

    with pytest.raises(RuntimeError, match="training step"):
        fail()
    assert count_hooks(network) == 0


def test_layers_have_names_indices_and_blocks():
    network = build_network("cifar_resnet", image_shape=(1, 8, 8), depth=14, width=2)
    layers = GradientProbe(network).layers
    assert [layer.index for layer in layers] == list(range(14))
    assert layers[0].name == "stem.conv1"
    assert layers[-1].name == "head.2"
    assert [layer.block_index for layer in layers] == [None, *[i // 2 for i in range(12)], None]
    assert {layer.kind for layer in layers} == {"Conv2d", "Linear"}


def test_a_layer_without_gradient_is_nan_and_no_crash():
    network = build_network("cifar_resnet", image_shape=(1, 8, 8), depth=8, width=2)
    network.stem.requires_grad_(False)
    with GradientProbe(network) as probe:
        probe.arm()
        network(torch.randn(4, 1, 8, 8)).square().sum().backward()
        found = probe.read()
    assert torch.isnan(found.layers[0])
    assert torch.isfinite(found.layers[1:]).all()
    assert torch.isnan(found.block_inputs[0])  # nothing before the first block is trained
    assert torch.isfinite(found.block_inputs[1:]).all()


def test_only_an_armed_pass_is_measured():
    network = build_network("cifar_resnet", image_shape=(1, 8, 8), depth=8, width=2)
    with GradientProbe(network) as probe:
        probe.arm()
        network(torch.randn(4, 1, 8, 8)).sum().backward()
        first = probe.read()
        network(100 * torch.randn(4, 1, 8, 8)).sum().backward()  # not armed
        assert torch.equal(torch.stack(probe._norms), first.block_inputs)


def test_checkpointing_counts_each_block_once():
    found = []
    for checkpoint in (False, True):
        network = build_network(
            "cifar_resnet", image_shape=(1, 8, 8), depth=32, checkpoint=checkpoint
        )
        with GradientProbe(network) as probe:
            probe.arm()
            images = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
            network(images).square().sum().backward()
            found.append(probe.read())
    assert torch.equal(found[0].layers, found[1].layers)
    assert torch.equal(found[0].block_inputs, found[1].block_inputs)


def test_a_network_without_blocks_is_refused():
    with pytest.raises(GradflowError, match="Linear: nothing to measure.*blocks"):
        GradientProbe(nn.Linear(2, 2))


def test_schedule_has_first_and_last_step():
    probe = ProbeConfig(every=4)
    assert [s for s in range(11) if fires(probe, s, 11)] == [0, 4, 8, 10]
    assert not any(fires(ProbeConfig(name="off"), s, 11) for s in range(11))
