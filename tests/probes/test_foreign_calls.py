"""Blocks that end in place, share a module, run in another order or return no tensor: what the
probes say of them against autograd on a copy written for the purpose."""

import pytest
import torch
from torch import nn

from gradflow.probes import Probes
from tests.support.measured import frames, measure


def images(**options):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(8, 4, generator=generator, dtype=torch.float64, **options)


def gradients(loss, *tensors):
    return [float(g.norm()) for g in torch.autograd.grad(loss, tensors)]


class InPlace(nn.Module):
    def __init__(self, inplace):
        super().__init__()
        self.f, self.norm, self.relu = nn.Linear(4, 4), nn.LayerNorm(4), nn.ReLU(inplace)

    def forward(self, x):
        out = self.norm(self.f(x))
        out += x
        return self.relu(out)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("inplace", [False, True])
def test_the_path_of_blocks_that_end_in_place(inplace, named):
    torch.manual_seed(0)
    stem, blocks = nn.Linear(4, 4), nn.Sequential(*[InPlace(inplace) for _ in range(3)])
    network = nn.Sequential(stem, blocks).double()
    options = {"blocks": "1.*", "branch": ("f", "norm"), "shortcut": "identity"} if named else {}
    found = measure(network, lambda: network(images()).square().mean(), details=True, **options)
    # The path's masks are those of the true pass, its gradient at the end too.
    h, masks = stem(images()), []
    first = h
    for block in blocks:
        h = block.norm(block.f(h)) + h
        masks.append(h.detach() > 0)
        h = h.clamp(min=0)
    loss = h.square().mean()
    [path] = torch.autograd.grad(loss, h, retain_graph=True)
    for mask in reversed(masks):
        path = path * mask
    [whole] = torch.autograd.grad(loss, first)
    share = float((path * whole).sum() / whole.square().sum())
    row = found["network_details"].iloc[0]
    assert row.path_grad_norm == pytest.approx(float(path.norm()), rel=1e-10)
    assert row.path_share == pytest.approx(share, rel=1e-10)


class OneEnd(nn.Module):
    """One dropout ends both branches."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(4), nn.LayerNorm(4)
        self.a, self.m, self.drop = nn.Linear(4, 4), nn.Linear(4, 4), nn.Dropout(0.0)

    def forward(self, x):
        x = x + self.drop(self.a(self.norm1(x)))
        return x + self.drop(9 * self.m(self.norm2(x)))


def test_a_module_that_ends_two_branches():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 4), nn.Sequential(OneEnd())).double()
    pairs = [("norm1", "drop"), ("norm2", "drop")]
    options = {"blocks": "1.*", "branch": pairs, "shortcut": "identity"}
    found = measure(network, lambda: network(images()).square().mean(), details=True, **options)
    block, x = network[1][0], network[0](images())
    first = block.a(block.norm1(x))
    h = x + first
    second = 9 * block.m(block.norm2(h))
    y = h + second
    norms = gradients(y.square().mean(), x, h, y)
    rms = [float(branch.detach().square().mean().sqrt()) for branch in (first, second)]
    rows = found["blocks"]
    assert rows.branch_rms[:2].tolist() == pytest.approx(rms, rel=1e-10)
    assert rows.input_grad_norm.tolist() == pytest.approx(norms, rel=1e-10)
    path = found["network_details"].path_grad_norm[0]
    assert path == pytest.approx(norms[2], rel=1e-10)  # identities only: the end's own gradient


class Backwards(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        for block in reversed(self.blocks):
            x = torch.tanh(block(x))
        return self.head(x)


def test_blocks_that_run_in_another_order_than_they_were_defined():
    torch.manual_seed(0)
    network = Backwards().double()
    x = images(requires_grad=True)
    found = measure(
        network, lambda: network(x).square().mean(), blocks="blocks.*", branch=None, shortcut=None
    )
    inputs, h = [x], x
    outputs = []
    for block in reversed(network.blocks):
        outputs.append(block(h))
        h = torch.tanh(outputs[-1])
        inputs.append(h)
    norms = gradients(network.head(h).square().mean(), *inputs[:3], outputs[-1])
    rows = found["blocks"]
    names = ["blocks.2", "blocks.1", "blocks.0", "end of blocks.0"]
    assert rows.block_name.tolist() == names
    assert rows.input_grad_norm.tolist() == pytest.approx(norms, rel=1e-10)


class Returns(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.how, self.f, self.s = how, nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        y = self.f(x) + (self.s(input=x) if self.how == "keyword" else self.s(x))
        return {"list": [y], "dict": {"h": y}}.get(self.how, y)


class Around(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.stem, self.head = nn.Linear(4, 4), nn.Linear(4, 1)
        self.blocks = nn.ModuleList([Returns(how)])

    def forward(self, x):
        y = self.blocks[0](self.stem(x))
        if isinstance(y, list):
            y = y[0]
        return self.head(y["h"] if isinstance(y, dict) else y)


@pytest.mark.parametrize("how", ["tensor", "list", "dict", "keyword"])
def test_blocks_that_return_lists_or_are_called_by_keyword(how):
    torch.manual_seed(0)
    network = Around(how).double()
    found = measure(
        network, lambda: network(images()).square().mean(),
        blocks="blocks.*", branch="f", shortcut="s",
    )  # fmt: skip
    block, x = network.blocks[0], network.stem(images())
    over, through = x * 1, x * 1
    y = block.f(through) + block.s(over)
    loss = network.head(y).square().mean()
    whole, skip, branch, end = gradients(loss, x, over, through, y)
    rows = found["blocks"]
    assert rows.reason.isna().all()
    assert rows.input_grad_norm.tolist() == pytest.approx([whole, end], rel=1e-10)
    assert rows.skip_grad_norm[0] == pytest.approx(skip, rel=1e-10)
    assert rows.branch_grad_norm[0] == pytest.approx(branch, rel=1e-10)
    assert rows.branch_rms[0] == pytest.approx(
        float(block.f(x).detach().square().mean().sqrt()), rel=1e-10
    )


class Weighed(nn.Module):
    """A sum with a factor that is another one in each pass."""

    def __init__(self, order):
        super().__init__()
        self.f, self.order, self.factor = nn.Linear(4, 4), order, 1.0

    def forward(self, x):
        pair = (x, self.f(x)) if self.order == "x first" else (self.f(x), x)
        return torch.relu(torch.add(*pair, alpha=self.factor))


@pytest.mark.parametrize("order", ["x first", "x last"])
def test_a_factor_that_changes_from_pass_to_pass(order):
    torch.manual_seed(0)
    blocks = nn.Sequential(*[Weighed(order) for _ in range(4)])
    network = nn.Sequential(nn.Linear(4, 4), blocks, nn.Linear(4, 1)).double()
    factors = [1.0, 0.5, 3.0]
    with Probes(network) as probes:
        for step, factor in enumerate(factors):
            for block in blocks:
                block.factor = factor
            probes.arm(step)
            network(images()).square().mean().backward()
    found = frames(probes)["blocks"]
    for step, factor in enumerate(factors):
        h, inputs = network[0](images()), []
        for block in blocks:
            over, through = h * 1, h * 1
            inputs += [over, through]
            left, right = (over, block.f(through))
            if order == "x first":
                h = torch.relu(left + factor * right)
            else:
                h = torch.relu(right + factor * left)
        norms = gradients(network[2](h).square().mean(), *inputs)
        rows = found[found.step == step]
        assert rows.skip_grad_norm[:4].tolist() == pytest.approx(norms[::2], rel=1e-10)
        assert rows.branch_grad_norm[:4].tolist() == pytest.approx(norms[1::2], rel=1e-10)


class Counted(torch.autograd.Function):
    """A function whose backward pass does something besides, as those of FSDP2 do."""

    calls = 0

    @staticmethod
    def forward(ctx, x):
        return x * 3

    @staticmethod
    def backward(ctx, gradient):
        Counted.calls += 1
        return gradient * 3


def test_functions_of_python_run_as_often_as_without_probes():
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.f, self.g = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x, split=lambda h: (h, h)):
            s, f = split(self.stem(x))
            s, f = split(Counted.apply(s + torch.tanh(self.f(Counted.apply(f)))))
            return (s + torch.tanh(self.g(f))).square().mean()

    net, x = Net().double(), torch.randn(5, 4, dtype=torch.float64)
    kept = []

    def split(h):
        kept.append((h, h.view_as(h), h.view_as(h)))
        return kept[-1][1:]

    loss = net(x, split)
    flat = [tensor for parts in kept for tensor in parts]
    norms = [float(g.norm()) for g in torch.autograd.grad(loss, flat)]
    Counted.calls = 0
    rows = measure(net, lambda: net(x), details=True)["blocks"][:2]
    assert Counted.calls == 2
    columns = ["input_grad_norm", "skip_grad_norm", "branch_grad_norm"]
    assert rows[columns].to_numpy().ravel().tolist() == pytest.approx(norms, rel=1e-12)


SHORTCUTS = {
    "normalized": lambda x: x / x.norm(dim=-1, keepdim=True),
    "by its RMS": lambda x: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6),
    "centered": lambda x: x - x.mean(-1, keepdim=True),
    "more of it": lambda x: x + 0.1 * x,
    "permuted": lambda x: x.roll(1, 0)[:, [3, 1, 0, 2]],
    "clamped": lambda x: x.clamp(-1, 1),
    "converted": lambda x: x.to(torch.float32).double(),
}


@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_shortcuts_that_are_written_by_hand(shortcut):
    """The parts are those of two views of x, or null with a reason."""
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.f = nn.Linear(4, 4), nn.ModuleList(nn.Linear(4, 4) for _ in range(3))

        def forward(self, x, split=lambda h: (h, h)):
            h = self.stem(x)
            for layer in self.f:
                s, f = split(h)
                h = SHORTCUTS[shortcut](s) + torch.tanh(layer(f))
            return (h * h.roll(1, 1)).mean()

    net, x = Net().double(), torch.randn(5, 4, dtype=torch.float64)
    kept = []

    def split(h):
        kept.append((h, h.view_as(h), h.view_as(h)))
        return kept[-1][1:]

    loss = net(x, split)
    gradients = torch.autograd.grad(loss, [tensor for parts in kept for tensor in parts])
    norms = [float(gradient.norm()) for gradient in gradients]
    rows = measure(net, lambda: net(x))["blocks"][:-1]
    columns = ["input_grad_norm", "skip_grad_norm", "branch_grad_norm"]
    split_rows = rows[rows.skip_grad_norm.notna()]
    if shortcut in ("centered", "more of it"):  # x, and more of it without a layer
        assert len(split_rows) == 0
        assert rows.reason.str.startswith("several operands may be the shortcut; name it").all()
    else:
        found = split_rows[columns].to_numpy().ravel().tolist()
        assert found == pytest.approx(norms, rel=1e-10)
