"""What is measured on the sparse schedule, and other people's networks."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradflow.networks import build_network
from gradflow.probes import between_examples
from gradflow.records import HISTOGRAM_EDGES
from tests.support.measured import cross_entropy, measure

pytestmark = pytest.mark.numeric


def test_histogram_and_zeros_of_gradients():
    network = build_network("mlp", image_shape=(1, 2, 3), depth=4, width=6, norm="none").double()
    x = torch.randn(3, 1, 2, 3, dtype=torch.float64)
    x[:, 0, 0, 0] = 0  # a weight column without gradient
    found = measure(network, lambda: cross_entropy(network, x) * 1e-3, details=True)
    edges = [0, *HISTOGRAM_EDGES, np.inf]
    rows = found["layer_details"]
    weights = [p for p in network.parameters() if p.ndim > 1]
    for row, weight in zip(rows.itertuples(), weights, strict=True):
        size = weight.grad.abs().flatten().numpy()
        counts, _ = np.histogram(size[size > 0], edges)
        assert row.histogram.tolist() == counts.tolist()
        assert row.zero_fraction == pytest.approx((size == 0).mean())
    assert rows.zero_fraction[0] >= 1 / 6


def test_histogram_holds_everything_but_zeros():
    from gradflow.probes.details import distribution

    values = torch.tensor([0.0, 1e-30, -1e-30, 1.0, 1e10, np.inf, np.nan])
    counts = distribution(values)
    assert counts[0] == 1
    assert counts[1] == 2  # below the first edge
    assert counts[-1] == 3  # above the last: 1e10, Inf, NaN
    assert counts.sum() == len(values)


def test_moments_and_dead_units():
    network = build_network("cifar_resnet", image_shape=(1, 8, 8), depth=8, width=4, norm="none")
    network = network.double()
    dying = network.blocks[0].branch.get_submodule("conv1")
    dying.bias.data = torch.tensor([-1e3, -1e3, 0.0, 1e3], dtype=torch.float64)
    images = torch.randn(6, 1, 8, 8, dtype=torch.float64)
    seen = {}
    for index, block in enumerate(network.blocks):
        block.register_forward_hook(
            lambda m, inputs, y, index=index: seen.update({index: (inputs[0].detach(), y.detach())})
        )
    found = measure(network, lambda: cross_entropy(network, images), details=True)
    rows = found["block_details"]
    for index, (x, _) in seen.items():
        assert rows.input_mean[index] == pytest.approx(float(x.mean()), rel=1e-12)
        assert rows.input_variance[index] == pytest.approx(x.numpy().var(), rel=1e-12)
    # Of the first ReLU's four channels two are dead; of the second's, those of the output.
    second = int((seen[0][1].amax(dim=(0, 2, 3)) == 0).sum())
    assert rows.dead_fraction[0] == pytest.approx((2 + second) / 8)


def test_dead_units_are_a_share_of_all_channels():
    """Of two channels one is dead, of six none: 1/8, and not the mean of 1/2 and 0."""

    class Unequal(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.three = nn.Linear(4, 2), nn.Linear(2, 6), nn.Linear(6, 4)
            self.relu, self.other = nn.ReLU(), nn.ReLU()
            self.one.bias.data = torch.tensor([-1e3, 1e3])
            self.two.bias.data.fill_(1e5)

        def forward(self, x):
            return x + self.three(self.other(self.two(self.relu(self.one(x)))))

    network = nn.Sequential(nn.Linear(4, 4), Unequal())
    x = torch.randn(5, 4)
    rows = measure(network, lambda: network(x).square().mean(), details=True)["block_details"]
    assert rows.dead_fraction[0] == pytest.approx(1 / 8)


def test_agreement_of_examples_one_by_one():
    """Each example's gradient by its own backward pass, in NumPy from there on."""
    network = build_network("mlp", image_shape=(1, 2, 3), depth=4, width=6, norm="none").double()
    x, y = torch.randn(5, 1, 2, 3, dtype=torch.float64), torch.arange(5)
    rows = []
    for index in range(5):
        network.zero_grad()
        F.cross_entropy(network(x[index : index + 1]), y[index : index + 1]).backward()
        rows.append(np.concatenate([p.grad.flatten().numpy() for p in network.parameters()]))
    network.zero_grad()
    found = between_examples(
        network, lambda: F.cross_entropy(network(x), y, reduction="none")
    ).numpy()
    g = np.array(rows)
    unit = g / np.linalg.norm(g, axis=1, keepdims=True)
    cosines = (unit @ unit.T)[~np.eye(5, dtype=bool)]
    assert found[0] == pytest.approx(cosines.mean(), rel=1e-9)
    noise = g.var(axis=0, ddof=1).sum()
    signal = (g.mean(axis=0) ** 2).sum() - noise / 5
    assert found[1] == pytest.approx(signal / noise, rel=1e-9)


def test_equal_examples_agree_and_opposite_ones_do_not():
    network = nn.Linear(3, 1, bias=False).double()
    x = torch.ones(4, 3, dtype=torch.float64)
    cosine, _ = between_examples(network, lambda: network(x)[:, 0])
    assert float(cosine) == pytest.approx(1)
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0], dtype=torch.float64)
    cosine, _ = between_examples(network, lambda: network(x)[:, 0] * signs)
    assert float(cosine) == pytest.approx(-1 / 3)  # 4 equal pairs, 8 opposite ones


def test_comparing_examples_changes_nothing():
    network = build_network(
        "cifar_resnet", image_shape=(1, 8, 8), depth=8, width=4, shortcut="dropout"
    )
    images = torch.randn(6, 1, 8, 8)
    cross_entropy(network, images).backward()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    gradients = [p.grad.clone() for p in network.parameters()]
    torch.manual_seed(5)
    between_examples(
        network, lambda: F.cross_entropy(network(images), torch.arange(6), reduction="none")
    )
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(drawn, torch.rand(3))
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert all(map(torch.equal, (p.grad for p in network.parameters()), gradients))


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_transformer_that_is_not_ours(norm_first):
    """torch's own encoder: two sub-blocks a layer, x added without a module. The oracle runs
    the layers' parts one by one, with x * 1 on the skip path."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(
        8, 2, 16, dropout=0.0, batch_first=True, norm_first=norm_first
    )
    encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False).double()
    x = torch.randn(4, 5, 8, dtype=torch.float64)
    branches = (
        [("norm1", "dropout1"), ("norm2", "dropout2")]
        if norm_first
        else [("self_attn", "dropout1"), ("linear1", "dropout2")]
    )
    h = x.clone().requires_grad_()
    pairs = []

    def add(h, branch):
        h.retain_grad()
        carried = h * 1
        carried.retain_grad()
        pairs.append((h, carried))
        return carried + branch(h)

    for part in encoder.layers:
        attend = lambda h, p=part: p.self_attn(h, h, h, need_weights=False)[0]  # noqa: E731
        feed = lambda h, p=part: p.linear2(F.relu(p.linear1(h)))  # noqa: E731
        if norm_first:
            h = add(h, lambda h, p=part, f=attend: f(p.norm1(h)))
            h = add(h, lambda h, p=part, f=feed: f(p.norm2(h)))
        else:
            h = part.norm1(add(h, attend))
            h = part.norm2(add(h, feed))
    h.square().mean().backward()
    encoder.zero_grad()

    found = measure(
        encoder,
        lambda: encoder(x.clone().requires_grad_()).square().mean(),
        blocks="layers.*",
        branch=branches,
        shortcut="identity",
        details=True,
    )
    rows = found["blocks"]
    assert len(rows) == 7
    for row, (inside, carried) in zip(rows.itertuples(), pairs, strict=False):
        total, skip = inside.grad, carried.grad
        share = float((skip * total).sum() / total.square().sum())
        assert row.input_grad_norm == pytest.approx(float(total.norm()), rel=1e-10)
        assert row.skip_grad_norm == pytest.approx(float(skip.norm()), rel=1e-10)
        assert row.branch_grad_norm == pytest.approx(float((total - skip).norm()), rel=1e-10)
        assert row.skip_share == pytest.approx(share, abs=1e-10)
    # Layers of a block with two branches belong to the branch that they are in.
    blocks = found["layers"].set_index("layer_name").block_index
    assert blocks["layers.1.self_attn.in_proj_weight"] == 2
    assert blocks["layers.1.linear2"] == 3
    names = found["layers"].layer_name.tolist()
    assert "layers.0.self_attn.in_proj_weight" in names
    assert "layers.2.linear2" in names
    assert found["network_details"].path_share.notna().all()


class InPlaceBlock(nn.Module):
    """A block as torchvision writes it: ReLU in place, the sum in place, S only where needed."""

    def __init__(self, inside, outside):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1)
        self.downsample = nn.Conv2d(inside, outside, 1) if inside != outside else None

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        out = self.conv2(self.relu(self.conv1(x)))
        out += identity
        return self.relu(out)


def test_blocks_that_work_in_place():
    torch.manual_seed(0)
    network = nn.Sequential(InPlaceBlock(2, 2), InPlaceBlock(2, 3), InPlaceBlock(3, 3)).double()
    x = torch.randn(4, 2, 5, 5, dtype=torch.float64)
    h = x.clone().requires_grad_()
    expected = []
    for block in network:
        h.retain_grad()
        carried = h * 1
        carried.retain_grad()
        over = carried if block.downsample is None else block.downsample(carried)
        branch = block.conv2(F.relu(block.conv1(h)))
        expected.append((h, carried, branch))
        h = F.relu(over + branch)
    h.square().mean().backward()
    rows = measure(
        network,
        lambda: network(x.clone().requires_grad_()).square().mean(),
        blocks="*",
        branch=("conv1", "conv2"),
        shortcut="downsample",
    )["blocks"]
    for row, (inside, carried, branch) in zip(rows.itertuples(), expected, strict=False):
        total, skip = inside.grad, carried.grad
        assert row.branch_rms == pytest.approx(float(branch.detach().square().mean().sqrt()))
        assert row.input_rms == pytest.approx(float(inside.detach().square().mean().sqrt()))
        assert row.input_grad_norm == pytest.approx(float(total.norm()), rel=1e-10)
        assert row.skip_grad_norm == pytest.approx(float(skip.norm()), rel=1e-10)
        assert row.branch_grad_norm == pytest.approx(float((total - skip).norm()), rel=1e-10)
