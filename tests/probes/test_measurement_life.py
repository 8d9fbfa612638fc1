"""The life of a measurement: any loop, any optimizer, and no optimizer at all.

The oracle is autograd.grad on the same batch, and the weights before and after.
"""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from gradflow.probes import Probes
from tests.support.measured import frames


def batches(count, scale=1.0):
    generator = torch.Generator().manual_seed(1)
    return [scale * torch.randn(8, 3, generator=generator).double() for _ in range(count)]


def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 1)).double()


def loss_of(net, x):
    return net(x).square().mean()


def gradients(net, x):
    """The norms of the weights' gradients."""
    weights = [p for p in net.parameters() if p.ndim > 1]
    return [float(g.norm()) for g in torch.autograd.grad(loss_of(net, x), weights)]


def weights(net):
    return [p.detach().clone() for p in net.parameters() if p.ndim > 1]


def changes(before, after):
    return [float((b - a).norm()) for b, a in zip(before, after, strict=True)]


class Wrapped(torch.optim.Optimizer):
    """Wraps another without Optimizer.__init__, as accelerate's and Lookahead's do."""

    def __init__(self, inner):
        self.inner, self.param_groups = inner, inner.param_groups
        self.state, self.defaults = inner.state, inner.defaults

    def step(self, closure=None):
        return self.inner.step(closure)


def sgd(net):
    return torch.optim.SGD(net.parameters(), lr=0.1)


LOOPS = {}


def loop(function):
    LOOPS[function.__name__] = function
    return function


@loop
def usual(net, probes, x, step):
    probes.arm(step)
    loss_of(net, x).backward()
    sgd(net).step()
    net.zero_grad()


@loop
def zeros_before(net, probes, x, step):
    probes.arm(step)
    loss = loss_of(net, x)
    net.zero_grad(set_to_none=False)
    loss.backward()
    sgd(net).step()


@loop
def closure(net, probes, x, step):
    optimizer = sgd(net)

    def evaluate():
        optimizer.zero_grad()
        loss = loss_of(net, x)
        loss.backward()
        return loss

    probes.arm(step)
    optimizer.step(evaluate)


@loop
def two_optimizers(net, probes, x, step):
    probes.arm(step)
    loss_of(net, x).backward()
    for part in (net[0], net[2]):
        torch.optim.AdamW(part.parameters(), lr=0.1).step()
    net.zero_grad()


@loop
def wrapped(net, probes, x, step):
    probes.arm(step)
    loss_of(net, x).backward()
    Wrapped(sgd(net)).step()
    net.zero_grad()


@loop
def clipped(net, probes, x, step):
    probes.arm(step)
    loss_of(net, x).backward()
    nn.utils.clip_grad_norm_(net.parameters(), 1e-3)
    sgd(net).step()
    net.zero_grad()


@loop
def by_hand(net, probes, x, step):
    """The weights are changed through .data, which torch's version counters do not see."""
    probes.arm(step)
    loss_of(net, x).backward()
    for parameter in net.parameters():
        parameter.data.add_(parameter.grad, alpha=-0.1)
        parameter.grad = None


@loop
def skipped(net, probes, x, step):
    probes.arm(step)
    loss_of(net, x).backward()
    if step != 1:
        sgd(net).step()
    net.zero_grad()


@loop
def saliency_first(net, probes, x, step):
    probes.arm(step)
    x = x.clone().requires_grad_()
    loss = loss_of(net, x)
    torch.autograd.grad(loss, x, retain_graph=True)
    loss.backward()
    sgd(net).step()
    net.zero_grad()


@loop
def evaluated_between(net, probes, x, step):
    probes.arm(step)
    loss_of(net, x).backward()
    with torch.no_grad():
        net(10 * x)
    sgd(net).step()
    net.zero_grad()


@loop
def parts_called(net, probes, x, step):
    """Not the network is called but its parts."""
    probes.arm(step)
    h = x
    for part in net:
        h = part(h)
    h.square().mean().backward()
    sgd(net).step()
    net.zero_grad()


@pytest.mark.parametrize("take", LOOPS.values(), ids=LOOPS)
def test_gradients_weights_and_updates_of_any_loop(take):
    net = build()
    expected = []
    with Probes(net) as probes:
        for step, x in enumerate(batches(3)):
            before, true = weights(net), gradients(net, x)
            take(net, probes, x, step)
            expected += zip(
                true, [float(w.norm()) for w in before], changes(before, weights(net)), strict=True
            )
    rows = frames(probes)["layers"]
    found = rows[["grad_norm", "weight_norm", "update_norm"]].to_numpy()
    if take is skipped:
        assert found[2:4, 2].tolist() == [0, 0]
    assert found == pytest.approx(np.array(expected), rel=1e-12)


def test_a_compiled_network_has_the_update_of_its_own_step():
    net = build()
    torch._dynamo.reset()
    with pytest.warns(UserWarning, match="only layers are measured"):
        probes = Probes(torch.compile(net, backend="eager"))
    x, before = batches(1)[0], weights(net)
    with probes:
        for step in range(3):
            if step == 0:
                probes.arm(step)
            loss_of(net, x).backward()
            if step == 0:
                true = [float(p.grad.norm()) for p in net.parameters() if p.ndim > 1]
            sgd(net).step()
            net.zero_grad()
            if step == 0:
                change = changes(before, weights(net))
    rows = frames(probes)["layers"]
    assert rows.grad_norm.tolist() == pytest.approx(true, rel=1e-12)
    assert rows.update_norm.tolist() == pytest.approx(change, rel=1e-12)


def test_lbfgs_is_measured_at_its_first_evaluation():
    net, x = build(), batches(1)[0]
    optimizer = torch.optim.LBFGS(net.parameters(), max_iter=4)
    true = gradients(net, x)
    with Probes(net) as probes:
        probes.arm(0)
        optimizer.step(lambda: closure_of(net, optimizer, x))
    assert frames(probes)["layers"].grad_norm.tolist() == pytest.approx(true, rel=1e-12)


def closure_of(net, optimizer, x):
    optimizer.zero_grad()
    loss = loss_of(net, x)
    loss.backward()
    return loss


def test_only_what_came_after_arm_is_a_gradient():
    """.grad holds an older micro-batch when the step is armed."""
    net, (one, two) = build(), batches(2)
    loss_of(net, one).backward()
    true = gradients(net, two)
    with Probes(net) as probes:
        probes.arm(0)
        loss_of(net, two).backward()
    assert frames(probes)["layers"].grad_norm.tolist() == pytest.approx(true, rel=1e-12)


def test_the_last_of_two_backward_passes_with_zeros_between():
    net, (one, two) = build(), batches(2)
    true = gradients(net, two)
    with Probes(net, blocks="0", branch=None) as probes:
        probes.arm(0)
        loss_of(net, one.requires_grad_()).backward()
        net.zero_grad()
        loss_of(net, two.requires_grad_()).backward()
    found = frames(probes)
    assert found["layers"].grad_norm.tolist() == pytest.approx(true, rel=1e-12)
    [x] = torch.autograd.grad(loss_of(net, two), two)
    assert found["blocks"].input_grad_norm[0] == pytest.approx(float(x.norm()), rel=1e-12)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Linear(3, 3)

    def forward(self, x):
        return x + torch.tanh(self.f(x))


def residual():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 3), Residual(), Residual(), nn.Linear(3, 1)).double()


def test_one_forward_pass_and_two_backward_passes():
    """The gradients of both add up before a norm is taken."""
    x = batches(1)[0]

    def losses(net):
        y = net(x)
        return y.square().mean(), y.exp().mean()

    net = residual()
    with Probes(net) as probes:
        probes.arm(0)
        one, two = losses(net)
        one.backward(retain_graph=True)
        two.backward()
    found = frames(probes)["blocks"]
    net.zero_grad()
    with Probes(net) as probes:
        probes.arm(0)
        sum(losses(net)).backward()
    expected = frames(probes)["blocks"]
    for name in ("input_grad_norm", "skip_grad_norm", "branch_grad_norm", "skip_share"):
        assert found[name].tolist() == pytest.approx(
            expected[name].tolist(), rel=1e-12, nan_ok=True
        )


def test_a_gradient_penalty_is_counted_in():
    """d(loss + |d loss / dx|^2)/dh at the first block, by retained gradients. The penalty's graph
    uses what is inside of the branches, so the parts are not told."""
    net, x = residual(), batches(1)[0].requires_grad_()

    def penalized(net):
        loss = loss_of(net, x)
        [slope] = torch.autograd.grad(loss, x, create_graph=True)
        return loss + slope.square().sum()

    kept = []
    handle = net[0].register_forward_hook(lambda m, i, y: kept.append(y))
    loss = penalized(net)
    [expected] = torch.autograd.grad(loss, kept[0])
    handle.remove()
    with Probes(net) as probes:
        probes.arm(0)
        with pytest.warns(UserWarning, match="differ from those of a second backward pass"):
            penalized(net).backward()
    row = frames(probes)["blocks"].iloc[0]
    assert row.input_grad_norm == pytest.approx(float(expected.norm()), rel=1e-10)
    assert np.isnan(row.branch_grad_norm)
    assert "differ" in row.reason


@pytest.mark.parametrize("details", [False, True])
def test_copies_and_files_carry_nothing(details):
    net = residual()
    with Probes(net) as probes:
        probes.arm(0, details=details)
        loss = loss_of(net, batches(1)[0])
        one = copy.deepcopy(net)
        loss.backward()
        two = pickle.loads(pickle.dumps(net))
        sgd(net).step()
        three = copy.deepcopy(net)
    for each in (one, two, three):
        for module in each.modules():
            assert not module._forward_hooks
            assert not module._forward_pre_hooks
        assert not any(p._backward_hooks for p in each.parameters())


def test_what_cannot_be_measured_warns_once_and_does_not_raise():
    net = residual()
    with Probes(net) as probes:
        probes.arm(0)
        with pytest.warns(UserWarning, match="step 0: no backward pass of Sequential was seen"):
            probes.arm(1)
        loss_of(net, batches(1)[0]).backward()
    assert frames(probes)["layers"].step.tolist() == [1] * 4


def test_an_error_inside_the_probes_ends_the_measurement_and_not_the_training(monkeypatch):
    from gradflow.probes import passes

    def broken(*_):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(passes, "make_plan", broken)
    net = residual()
    with Probes(net) as probes:
        probes.arm(0)
        with pytest.warns(UserWarning, match="not measured: ZeroDivisionError: a bug"):
            loss_of(net, batches(1)[0]).backward()
        probes.arm(1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loss_of(net, batches(1)[0]).backward()
    assert all(p.grad is not None for p in net.parameters())
    assert not probes.tables()


def test_weights_that_are_replaced_have_moved_too():
    """`p.data = ...` leaves no trace in a tensor's version."""
    network = nn.Linear(3, 2)
    with Probes(network) as probes:
        for step in range(3):
            probes.arm(step)
            network.zero_grad()
            network(torch.randn(4, 3)).square().mean().backward()
            for parameter in network.parameters():
                parameter.data = parameter.data - 0.5 * parameter.grad
    rows = probes.tables()["layers"].to_pandas()
    assert rows.update_norm.tolist() == pytest.approx((0.5 * rows.grad_norm).tolist(), rel=1e-5)


def test_weights_that_are_views_with_gaps_move_too():
    torch.manual_seed(0)
    net = nn.Linear(3, 2, bias=False)
    net.weight = nn.Parameter(torch.randn(2, 6)[:, ::2])
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    with Probes(net) as probes:
        for step in range(2):
            probes.arm(step)
            net(torch.ones(4, 3)).square().sum().backward()
            before = net.weight.detach().clone()
            optimizer.step()
            optimizer.zero_grad()
    row = probes.tables()["layers"].to_pylist()[-1]
    assert row["weight_norm"] == pytest.approx(float(before.norm()))
    assert row["update_norm"] == pytest.approx(
        float((net.weight.detach() - before).norm()), rel=1e-5
    )


def test_an_evaluation_with_other_weights_is_no_update():
    """Averaged weights, say, that are put back before training continues."""
    net, x = build(), batches(1)[0]
    with Probes(net) as probes:
        probes.arm(0)
        loss_of(net, x).backward()
        before = weights(net)
        sgd(net).step()
        after = weights(net)
        kept = [p.detach().clone() for p in net.parameters()]
        with torch.no_grad():
            for parameter in net.parameters():
                parameter *= 0.5
            net(x)
            for parameter, value in zip(net.parameters(), kept, strict=True):
                parameter.copy_(value)
        loss_of(net, x)
    rows = probes.tables()["layers"]["update_norm"].to_pylist()
    assert rows == pytest.approx(changes(before, after), rel=1e-12)


def test_a_network_inside_a_reentrant_checkpoint_has_its_layers_measured():
    net, x = build(), batches(1)[0].requires_grad_()
    expected = gradients(net, x)
    with Probes(net) as probes:
        probes.arm(0)
        out = torch.utils.checkpoint.checkpoint(net, x, use_reentrant=True)
        out.square().mean().backward()
    assert probes.tables()["layers"]["grad_norm"].to_pylist() == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tracing_an_armed_network_is_as_without_probes():
    net, x = build(), batches(1)[0]
    with Probes(net) as probes:
        probes.arm(0)
        assert torch.equal(torch.jit.trace(net, x)(x), net(x))
        loss_of(net, x).backward()
    assert probes.tables()["layers"].num_rows == 2


class Adding(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return x + torch.tanh(self.linear(x))


@pytest.mark.parametrize("details", [False, True])
def test_what_others_have_on_a_tensor_sees_each_backward_pass_once(details):
    """A retained gradient is not added to twice, and a hook runs as often as without probes."""
    torch.manual_seed(0)
    blocks = [nn.Linear(4, 4), Adding(), Adding()]
    network, x = nn.Sequential(*blocks), torch.randn(3, 4)
    kept, seen = [], []

    def watch(module, inputs):
        inputs[0].retain_grad()
        inputs[0].register_hook(seen.append)
        kept.append(inputs[0])

    blocks[1].register_forward_pre_hook(watch)
    network(x).square().sum().backward()
    expected = kept[0].grad
    with Probes(network) as probes:
        for step in range(3):
            probes.arm(step, details=details)
            network(x).square().sum().backward()
        table = probes.tables()["blocks"].to_pandas()
    assert len(seen) == 4
    assert all(torch.equal(each.grad, expected) for each in kept)
    assert table.input_grad_norm[0] == pytest.approx(float(expected.norm()), rel=1e-6)
    assert table.skip_grad_norm.notna().sum() == 6
