"""Optimizers that set the size of each tensor's step, against NumPy and torch's own."""

import numpy as np
import pytest
import torch
from torch import nn

from gradflow.training.optimizers import build_optimizer, set_learning_rate
from gradflow.training.optimizers.muon import MuonConfig
from gradflow.training.optimizers.normalized import NormalizedConfig

pytestmark = pytest.mark.numeric


def with_gradients(network, seed):
    generator = torch.Generator().manual_seed(seed)
    for p in network.parameters():
        p.grad = torch.randn(p.shape, generator=generator, dtype=p.dtype).to(p)


def orthogonalized(matrix):
    """The five steps in float64: x <- a x + (b m + c m m) x, m = x x^T, of the wide matrix."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = (matrix.T if tall else matrix) / np.linalg.norm(matrix)
    for _ in range(5):
        m = x @ x.T
        x = 3.4445 * x + (-4.7750 * m + 2.0315 * m @ m) @ x
    return x.T if tall else x


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_muon_of_a_convolution(layout):
    """Two steps in NumPy; a step's entries have .2 sqrt(max(out, in)) of an orthogonal one's.

    The tolerance is bfloat16's: five steps of three products, each rounded to 2^-9.
    """
    network = nn.Conv2d(4, 6, 3, bias=False).to(memory_format=layout)
    optimizer = build_optimizer(
        MuonConfig(learning_rate=0.1, momentum=0.9, weight_decay=0.01), network
    )
    weight, buffer = network.weight.detach().double().numpy().reshape(6, 36).copy(), 0.0
    for seed in (0, 1):
        before = network.weight.detach().clone()
        with_gradients(network, seed)
        gradient = network.weight.grad.clone()
        optimizer.step()
        assert network.weight.grad.equal(gradient)
        g = gradient.double().numpy().reshape(6, 36)
        buffer = 0.9 * buffer + 0.1 * g
        step = 0.2 * 6.0 * orthogonalized(0.1 * g + 0.9 * buffer)
        expected = weight * (1 - 0.1 * 0.01) - 0.1 * step
        moved = (network.weight - before).detach().double().numpy().reshape(6, 36)
        error = np.linalg.norm(moved - (expected - weight)) / np.linalg.norm(moved)
        assert error < 15 * 2**-9 * np.sqrt(6)
        weight = network.weight.detach().double().numpy().reshape(6, 36).copy()


def test_muon_steps_vectors_as_adamw_does():
    network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4))
    other = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4))
    other.load_state_dict(network.state_dict())
    optimizer = build_optimizer(MuonConfig(learning_rate=0.02), network)
    vectors = [p for p in other.parameters() if p.ndim == 1]
    adam = torch.optim.AdamW(vectors, lr=0.02, betas=(0.9, 0.95), weight_decay=1e-4, fused=True)
    for seed in (0, 1, 2):
        with_gradients(network, seed)
        with_gradients(other, seed)
        optimizer.step()
        adam.step()
    found = [p for p in network.parameters() if p.ndim == 1]
    for one, two in zip(found, vectors, strict=True):
        assert one.equal(two)


def test_normalized_steps_by_hand():
    """v <- m v + s d / |d|, w <- w - lr v in NumPy; a bias of zeros moves by its floor."""
    network = nn.Linear(3, 2).double()
    nn.init.zeros_(network.bias)
    config = NormalizedConfig(learning_rate=0.1, momentum=0.9, weight_decay=0.01)
    optimizer = build_optimizer(config, network)
    values = [p.detach().numpy().copy() for p in network.parameters()]
    speeds = [0.0, 0.0]
    for seed in (0, 1):
        with_gradients(network, seed)
        set_learning_rate(optimizer, 0.1 / (1 + seed))
        for i, p in enumerate(network.parameters()):
            along = p.grad.numpy() + 0.01 * values[i]
            size = max(np.linalg.norm(values[i]), 1e-3 * np.sqrt(along.size))
            speeds[i] = 0.9 * speeds[i] + size * along / np.linalg.norm(along)
            values[i] = values[i] - 0.1 / (1 + seed) * speeds[i]
        optimizer.step()
    for p, value in zip(network.parameters(), values, strict=True):
        np.testing.assert_allclose(p.detach().numpy(), value, rtol=1e-12)


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_a_normalized_step_does_not_know_the_gradients_size(factor):
    network, other = nn.Linear(3, 2).double(), nn.Linear(3, 2).double()
    other.load_state_dict(network.state_dict())
    for subject, scale in ((network, 1.0), (other, factor)):
        optimizer = build_optimizer(NormalizedConfig(weight_decay=0.0), subject)
        with_gradients(subject, 0)
        for p in subject.parameters():
            p.grad *= scale
        optimizer.step()
    for one, two in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-14, atol=0)


@pytest.mark.parametrize("config", [MuonConfig(), NormalizedConfig(weight_decay=0.0)])
def test_no_gradient_moves_nothing(config):
    """Neither one of zeros nor one that is not there; decay alone, where there is any."""
    network = nn.Linear(3, 2)
    optimizer = build_optimizer(config, network)
    before = [p.detach().clone() for p in network.parameters()]
    optimizer.step()
    network.weight.grad = torch.zeros(2, 3)
    optimizer.step()
    decay = 1 - config.learning_rate * config.weight_decay
    torch.testing.assert_close(network.weight, before[0] * decay)
    assert network.bias.equal(before[1])
