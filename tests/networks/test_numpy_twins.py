"""The fully connected blocks against NumPy: forward, and gradients derived by hand.

    y = relu(W2 relu(W1 x + b1) + b2 + S(x)),  S(x) = x, or Ws x + bs where the width changes
    u = W1 x + b1, h = relu(u), s = W2 h + b2 + S(x), y = relu(s)
    with G = dL/dy:  ds = G * [s > 0],  dW2 = ds^T h,  db2 = sum ds,
                     du = (ds W2) * [u > 0],  dW1 = du^T x,  db1 = sum du,
                     dx = du W1 + ds S'  (S' = I, or Ws with dWs = ds^T x, dbs = sum ds)
The plain twin has no S: the last term of dx, and the shortcut's gradients, are gone.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gradflow.networks import make_network
from gradflow.networks.blocks import make_block
from gradflow.networks.families.mlp import MlpConfig
from gradflow.networks.layers import Weighted

pytestmark = pytest.mark.numeric


def numpy_block(x, parameters, upstream, skip):
    """y, dL/dx and dL/d(parameters) for L = sum(upstream * y)."""
    w1, b1, w2, b2, *projection = parameters
    u = x @ w1.T + b1
    h = np.maximum(u, 0)
    s = h @ w2.T + b2
    if skip:
        s = s + (x @ projection[0].T + projection[1] if projection else x)
    ds = upstream * (s > 0)
    du = (ds @ w2) * (u > 0)
    dx = du @ w1
    gradients = [du.T @ x, du.sum(0), ds.T @ h, ds.sum(0)]
    if skip:
        dx = dx + (ds @ projection[0] if projection else ds)
        if projection:
            gradients += [ds.T @ x, ds.sum(0)]
    return np.maximum(s, 0), dx, gradients


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    batch=st.integers(1, 6),
    skip=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_block_and_its_gradients(sizes, batch, skip, seed):
    in_size, size = sizes
    config = MlpConfig(skip=skip, width=8)
    block = make_block(config, in_size, [Weighted(size)] * 2, index=1, total=2, dims=0).double()
    rng = np.random.default_rng(seed)
    values = [rng.standard_normal(tuple(p.shape)) for p in block.parameters()]
    for parameter, value in zip(block.parameters(), values, strict=True):
        parameter.data.copy_(torch.from_numpy(value))
    x, upstream = rng.standard_normal((batch, in_size)), rng.standard_normal((batch, size))
    y, dx, gradients = numpy_block(x, values, upstream, skip)

    inputs = torch.from_numpy(x).requires_grad_()
    outputs = block(inputs)
    (outputs * torch.from_numpy(upstream)).sum().backward()
    np.testing.assert_allclose(outputs.detach(), y, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(inputs.grad, dx, rtol=1e-12, atol=1e-12)
    found = [p.grad for p in block.parameters() if p.grad is not None]
    for ours, theirs in zip(found, gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("skip", [True, False])
def test_a_stack_of_identity_and_projection_blocks(skip):
    """Blocks 1 and 2 of widths 8 -> 8 -> 16 -> 16, the whole gradient chained in NumPy."""
    config = MlpConfig(depth=8, width=8, widths=(8, 16, 16), skip=skip)
    network = make_network(config, (1, 2, 3), 4, seed=0).double()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 8))
    blocks = [[p.detach().numpy() for p in block.parameters()] for block in network.blocks]
    states = [x]
    for parameters in blocks:
        y, _, _ = numpy_block(states[-1], parameters, 0, skip)
        states.append(y)
    upstream = np.ones_like(states[-1])
    for state, parameters in zip(states[-2::-1], blocks[::-1], strict=True):
        _, upstream, _ = numpy_block(state, parameters, upstream, skip)

    inputs = torch.from_numpy(x).requires_grad_()
    hidden = inputs
    for block in network.blocks:
        hidden = block(hidden)
    hidden.sum().backward()
    np.testing.assert_allclose(hidden.detach(), states[-1], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(inputs.grad, upstream, rtol=1e-12, atol=1e-12)


def test_he_initialisation_of_linear_layers():
    """N(0, 2/fan_in), zero biases."""
    network = make_network(MlpConfig(depth=4, width=400), (1, 8, 8), 10, seed=0)
    weight = network.blocks[0].branch.linear1.weight.detach().double()
    expected = 2 / 400
    assert abs(weight.var().item() - expected) < 5 * expected * (2 / weight.numel()) ** 0.5
    assert not network.blocks[0].branch.linear1.bias.any()
