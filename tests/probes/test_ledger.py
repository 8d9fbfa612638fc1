"""The ledger and the signals against oracles written another way, in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradflow.config import transformers
from gradflow.networks import build_network
from gradflow.probes import Probes
from tests.support.measured import cross_entropy, linear_chain, measure

pytestmark = pytest.mark.numeric

CLOSE = {"rtol": 1e-10, "atol": 1e-14}


@pytest.mark.parametrize("skip", [False, True])
def test_a_deep_linear_chain_derived_by_hand(skip):
    """loss = sum(c * h_L): with A_l = W_l (+ I), g_l = dL/dh_l, g_{l-1} = A_l^T g_l and
    dL/dW_l = g_l h_{l-1}^T; skip part g_l, branch part W_l^T g_l; in NumPy."""
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
    gradients = [c]
    for matrix in reversed(maps):
        gradients.insert(0, gradients[0] @ matrix)

    network = linear_chain(weights, skip)
    found = measure(
        network,
        lambda: (network(torch.from_numpy(x)) * torch.from_numpy(c)).sum(),
        details=True,
    )
    layers, blocks = found["layers"], found["blocks"]
    norm = np.linalg.norm
    expected = [norm(g.T @ h) for g, h in zip(gradients[1:], states[:-1], strict=True)]
    np.testing.assert_allclose(layers.grad_norm, expected, rtol=1e-12)
    np.testing.assert_allclose(layers.weight_norm, [norm(w) for w in weights], rtol=1e-12)
    # The stem's own input is not a block's; the last row is the head's input.
    np.testing.assert_allclose(blocks.input_grad_norm, [norm(g) for g in gradients[1:-1]])
    inside = blocks[:-1]
    np.testing.assert_allclose(inside.input_rms, [norm(h) / 18**0.5 for h in states[1:-2]])
    branches = [h @ w.T for h, w in zip(states[1:-2], weights[1:-1], strict=True)]
    np.testing.assert_allclose(inside.branch_rms, [norm(b) / 18**0.5 for b in branches])
    over_branch = [g @ w for g, w in zip(gradients[2:-1], weights[1:-1], strict=True)]
    np.testing.assert_allclose(inside.branch_grad_norm, [norm(g) for g in over_branch], **CLOSE)
    carried = gradients[2:-1] if skip else [np.zeros_like(g) for g in gradients[2:-1]]
    np.testing.assert_allclose(inside.skip_grad_norm, [norm(g) for g in carried], **CLOSE)
    share = [(s * t).sum() / (t * t).sum() for s, t in zip(carried, gradients[1:-2], strict=True)]
    np.testing.assert_allclose(inside.skip_share, share, **CLOSE)
    # From end to end: identities all the way, or nothing.
    [path] = found["network_details"].to_dict("records")
    through = gradients[-2] if skip else np.zeros_like(c)
    np.testing.assert_allclose(path["path_grad_norm"], norm(through), **CLOSE)
    first = gradients[1]
    np.testing.assert_allclose(
        path["path_share"], (through * first).sum() / (first**2).sum(), **CLOSE
    )


def explicit_gradients(network, images, loss_of):
    """What the ledger splits, with the network's forward pass written out.

    The shortcut is called with x * 1, a product of its own, whose retained gradient is the
    skip part; gates are called with x. Returns (x, branch output, sum) of each block, with
    gradients, and the skip tensors.
    """
    torch.manual_seed(0)
    h = network.stem(images)
    rows = []
    for block in network.blocks:
        h.retain_grad()
        branch = block.branch(h)
        carried = h * 1
        carried.retain_grad()
        total = branch
        if block.skip:
            over = block.shortcut(carried)
            total = over + branch
            if block.gate is not None:
                gate = torch.sigmoid(gate_of(block.gate, h))
                total = (1 - gate) * over + (gate * branch if block.gate.exclusive else branch)
        rows.append((h, branch, carried))
        h = block.after(total)
    h.retain_grad()
    loss_of(network.head(h)).backward()
    return rows, h


def gate_of(gate, h):
    if gate.layer == "linear":
        return F.linear(h, gate.linear.weight, gate.linear.bias)
    every = gate.conv.every
    return F.conv2d(h[:, :, ::every, ::every], gate.conv.weight, gate.conv.bias)


CIFAR = {"family": "cifar_resnet", "image_shape": (1, 8, 8), "depth": 14, "width": 4}
MLP = {"family": "mlp", "image_shape": (1, 2, 3), "depth": 8, "width": 6}
TRANSFORMER = {"family": "transformer", "image_shape": (1, 8, 8), "depth": 10, "width": 8}
CASES = {
    **{
        f"{placement}-{shortcut}": {**CIFAR, "placement": placement, "shortcut": shortcut}
        for placement in (
            "original",
            "norm_after_addition",
            "activation_before_addition",
            "activation_only_preactivation",
            "full_preactivation",
        )
        for shortcut in ("A", "B", "C", "exclusive_gate", "shortcut_gate", "dropout")
    },
    "scaled": {**CIFAR, "shortcut_scale": 0.5, "branch_scale": 0.3},
    "stochastic depth": {**CIFAR, "survival": 0.5},
    "layer scale": {**CIFAR, "scaling": "layer_scale"},
    "fixup": {**CIFAR, "initialization": "fixup", "norm": "none"},
    "bottleneck": {**CIFAR, "depth": 11, "block": "bottleneck", "shortcut": "B"},
    "plain": {**CIFAR, "skip": False},
    "mlp": {**MLP, "norm": "none"},
    "mlp with projections": {**MLP, "widths": (6, 9, 4), "shortcut": "B", "norm": "layer"},
    "transformer, pre-norm": {**TRANSFORMER, "norm": "layer"},
    **{
        f"transformer, {placement}": {**TRANSFORMER, "norm": "layer", "placement": placement}
        for placement in transformers.PLACEMENTS
        if placement != "pre_norm"
    },
    **{
        f"transformer, {connection}": {**TRANSFORMER, "norm": "layer", "connection": connection}
        for connection in transformers.CONNECTIONS
        if connection != "residual"
    },
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_ledger_of_every_shortcut_and_placement(options):
    options = dict(options)
    family = options.pop("family")
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(6, *options["image_shape"], generator=generator, dtype=torch.float64)

    def build():
        network = build_network(family, outputs=10, seed=3, **options).double()
        noise = torch.Generator().manual_seed(2)  # no weight is 0 by its initialisation
        for parameter in network.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=noise).double()
        return network

    network = build()
    rows, end = explicit_gradients(network, images, lambda y: F.cross_entropy(y, torch.arange(6)))
    torch.manual_seed(0)
    network = build()
    found = measure(network, lambda: cross_entropy(network, images))["blocks"]
    assert len(found) == len(rows) + 1
    np.testing.assert_allclose(found.input_grad_norm.iloc[-1], float(end.grad.norm()), **CLOSE)
    for row, (x, branch, carried) in zip(found.itertuples(), rows, strict=False):
        total = x.grad
        skip = torch.zeros_like(x) if carried.grad is None else carried.grad
        rest = total - skip
        expected = {
            "input_rms": x.detach().square().mean().sqrt(),
            "branch_rms": branch.detach().square().mean().sqrt(),
            "input_grad_norm": total.norm(),
            "skip_grad_norm": skip.norm(),
            "branch_grad_norm": rest.norm(),
            "skip_share": (skip * total).sum() / total.square().sum(),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(getattr(row, name), float(value), **CLOSE, err_msg=name)
        share_of_rest = float((rest * total).sum() / total.square().sum())
        assert row.skip_share + share_of_rest == pytest.approx(1, abs=1e-10)
    if not options.get("skip", True):
        assert (found.skip_share[:-1] == 0).all()
        assert (found.skip_grad_norm[:-1] == 0).all()


@pytest.mark.parametrize("shortcut", ["A", "B"])
def test_skip_part_is_the_transposed_jacobian_of_the_shortcut(shortcut):
    """J_S column by column, from differences of S itself (exact, as S is affine); the mask of
    the ReLU after the sum by hand."""
    network = build_network(
        "cifar_resnet",
        outputs=10,
        shortcut=shortcut,
        norm="none",
        **{k: v for k, v in CIFAR.items() if k != "family"},
    ).double()
    images = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    seen = {}
    block = network.blocks[2]  # halves the image, doubles the channels
    block.register_forward_hook(lambda m, i, y: seen.update(x=i[0].detach(), y=y))
    found = measure(network, lambda: cross_entropy(network, images))["blocks"]
    y = seen["y"]
    [g] = torch.autograd.grad(
        network.head(_rest(network, 3, y))
        .log_softmax(1)[torch.arange(2), torch.arange(2)]
        .mean()
        .neg(),
        y,
    )
    g = g * (y > 0)
    with torch.no_grad():
        x = seen["x"]
        base = block.shortcut(torch.zeros_like(x[:1]))
        columns = []
        for index in range(x[0].numel()):
            unit = torch.zeros(x[0].numel(), dtype=torch.float64)
            unit[index] = 1
            columns.append((block.shortcut(unit.view_as(x[:1])) - base).flatten())
        jacobian = torch.stack(columns, dim=1)
        skip = g.flatten(start_dim=1) @ jacobian
    np.testing.assert_allclose(found.skip_grad_norm[2], float(skip.norm()), **CLOSE)


def _rest(network, start, h):
    for block in list(network.blocks)[start:]:
        h = block(h)
    return h


PATHS = {name: CASES[name] for name in CASES if "survival" not in CASES[name]}


@pytest.mark.parametrize("options", PATHS.values(), ids=PATHS)
def test_what_passes_no_branch_from_end_to_end(options):
    """Each branch's output, and each gate, is detached in the forward pass written out: all
    that comes back to the first block then came over shortcuts."""
    options = dict(options)
    family = options.pop("family")
    images = torch.randn(6, *options["image_shape"], dtype=torch.float64)
    network = build_network(family, outputs=10, seed=3, **options).double()
    torch.manual_seed(0)
    found = measure(network, lambda: cross_entropy(network, images), details=True)
    rows, _ = explicit_gradients(network, images, lambda y: F.cross_entropy(y, torch.arange(6)))
    total = rows[0][0].grad

    torch.manual_seed(0)
    first = h = network.stem(images).detach().requires_grad_()
    for block in network.blocks:
        branch = block.branch(h).detach()
        mixed = branch
        if block.skip:
            over = block.shortcut(h)
            mixed = over + branch
            if block.gate is not None:
                mixed = block.gate(h.detach(), over, branch)
        h = block.after(mixed)
    alone = torch.zeros_like(first)
    if h.requires_grad:
        y = h.detach().requires_grad_()  # the true gradient at the last block's output
        [g] = torch.autograd.grad(F.cross_entropy(network.head(y), torch.arange(6)), y)
        [alone] = torch.autograd.grad(h, first, g)
    [path] = found["network_details"].to_dict("records")
    np.testing.assert_allclose(path["path_grad_norm"], float(alone.norm()), **CLOSE)
    share = float((alone * total).sum() / total.square().sum())
    np.testing.assert_allclose(path["path_share"], share, **CLOSE)


def test_zero_branch_and_identity_shortcut_have_share_one():
    network = build_network("mlp", image_shape=(1, 2, 3), depth=8, width=6, norm="none")
    for block in network.blocks:
        block.after = nn.Identity()
        for parameter in block.branch.parameters():
            nn.init.zeros_(parameter)
    found = measure(network, lambda: cross_entropy(network, torch.randn(4, 1, 2, 3)))["blocks"]
    assert found.skip_share[:-1].tolist() == [1] * 3
    assert found.branch_grad_norm[:-1].tolist() == [0] * 3
    assert found.branch_rms[:-1].tolist() == [0] * 3


def test_share_is_null_where_the_gradient_is_zero():
    network = build_network("mlp", image_shape=(1, 2, 3), depth=8, width=6, norm="none")
    network.head[-1].weight.data.zero_()
    with Probes(network) as probes:
        probes.arm(0)
        network(torch.randn(4, 1, 2, 3)).sum().backward()
    blocks = probes.tables()["blocks"]
    assert blocks["skip_share"].null_count == len(network.blocks) + 1
    assert blocks["input_grad_norm"].to_pylist() == [0] * 4


def test_gradients_far_outside_float32_squares_are_seen():
    """1e-30 and 1e25 have no float32 square; the norms are right all the same."""
    network = build_network("mlp", image_shape=(1, 2, 3), depth=6, width=6, norm="none")
    images = torch.randn(4, 1, 2, 3)
    one = measure(network, lambda: network(images).sum())
    for size in (1e-30, 1e25):
        network.zero_grad()
        far = measure(network, lambda size=size: network(images).sum() * size)
        for table, name in (("blocks", "input_grad_norm"), ("layers", "grad_norm")):
            expected = one[table][name] * size
            np.testing.assert_allclose(far[table][name], expected, rtol=1e-5)
        np.testing.assert_allclose(far["blocks"].skip_share, one["blocks"].skip_share, rtol=1e-4)


@pytest.mark.parametrize("family", ["unet", "diffusion_unet"])
@pytest.mark.parametrize("skip", [True, False])
def test_blocks_whose_input_is_used_by_a_long_skip(family, skip):
    """Shortcut and branch are called with an alias of the block's input each; what the network
    does with that input besides is elsewhere."""
    network = build_network(family, image_shape=(1, 8, 8), depth=12, width=2, skip=skip).double()
    images = torch.randn(4, 1, 8, 8, dtype=torch.float64)
    times = (torch.rand(4, dtype=torch.float64),) if family == "diffusion_unet" else ()
    kept = []

    def split(block):
        def forward(x, *context):
            aliases = x.view_as(x), x.view_as(x)
            kept.append((x, *aliases))
            branch = block.branch(aliases[1], *context)
            return block.after(block.add(aliases[0], branch) if block.skip else branch)

        return forward

    def loss():
        return network(images, *times).square().mean()

    for block in network.blocks:
        block.forward = split(block)
    kept_loss = loss()
    flat = [tensor for row in kept for tensor in row]
    gradients = torch.autograd.grad(kept_loss, flat, allow_unused=True)
    for block in network.blocks:
        del block.forward
    found = measure(network, loss)["blocks"]
    triples = zip(*(iter(gradients),) * 3, strict=True)
    elsewhere = []
    for row, (total, over, through) in zip(found.itertuples(), triples, strict=False):
        over = torch.zeros_like(total) if over is None else over
        inside = over + through
        elsewhere.append(float((total - inside).norm()))
        expected = {
            "input_grad_norm": total.norm(),
            "skip_grad_norm": over.norm(),
            "branch_grad_norm": through.norm(),
            "elsewhere_grad_norm": elsewhere[-1],
            "skip_share": (over * inside).sum() / inside.square().sum(),
        }
        for name, value in expected.items():
            np.testing.assert_allclose(getattr(row, name), float(value), rtol=1e-9, atol=1e-14)
    assert sum(norm > 1e-9 for norm in elsewhere) == 2  # the two long skips leave from inputs
