"""Blocks of several streams: the gradient at their input, stream by stream, against autograd."""

import importlib.util

import numpy as np
import pytest
import torch
from torch import nn

from gradflow.analysis.output import Output
from gradflow.analysis.studies import ledger
from gradflow.analysis.study import load_study
from gradflow.core.errors import GradflowError
from gradflow.networks.families.custom import CustomConfig
from gradflow.runs.execute import execute
from tests.support.builders import reversible
from tests.support.configs import small_config
from tests.support.doors import ROOT
from tests.support.measured import measure

pytestmark = pytest.mark.numeric


def example():
    path = ROOT / "examples" / "two_streams.py"
    spec = importlib.util.spec_from_file_location("example_two_streams", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def blocks_of(network, images):
    """The rows of one measured step, and the true gradient at each block's input."""
    inputs = []
    mixing = [module for module in network.children() if hasattr(module, "mix")]
    kept = [m.register_forward_pre_hook(lambda _, given: inputs.append(given[0])) for m in mixing]
    gradients = torch.autograd.grad(network(images).square().sum(), inputs) if mixing else ()
    for handle in kept:
        handle.remove()
    found = measure(network, lambda: network(images).square().sum())
    return found["blocks"], gradients


@pytest.mark.parametrize("skip", [True, False])
def test_shares_are_those_of_autograd(skip):
    module = example()
    torch.manual_seed(0)
    network = module.two_streams((1, 3, 3), 4, depth=6, width=5, skip=skip).double()
    with torch.no_grad():
        for block in network:
            if hasattr(block, "mix"):
                block.mix.add_(torch.randn(4).double() / 3)
    if not skip:
        marks = {block: str(index) for index, block in enumerate(network) if hasattr(block, "mix")}
        network.marked_blocks = marks
    rows, gradients = blocks_of(network, torch.randn(3, 1, 3, 3, dtype=torch.float64))
    squares = [g.square().sum(dim=(0, 2)) for g in gradients]
    expected = np.array([(s / s.sum()).tolist() for s in squares])
    assert len(rows) == len(gradients) + 1 == 5
    np.testing.assert_allclose(np.stack(rows.stream_shares[:4]), expected, rtol=1e-12)
    assert np.ptp(expected[:, 0]) > 0.05  # they are not all alike
    assert rows.stream_shares[4] is None  # the output, of which no block says what it holds
    norms = [float(g.norm()) for g in gradients]
    np.testing.assert_allclose(rows.input_grad_norm[:4], norms, rtol=1e-12)


@pytest.mark.parametrize("axis", [0, 3, -1, "1", 2])
def test_an_axis_that_does_not_fit_is_a_reason_and_no_number(axis):
    module = example()
    network = module.two_streams((1, 3, 3), 4, depth=5, width=9, skip=True)
    for block in network:
        if hasattr(block, "mix"):
            block.stream_axis = axis
    rows, _ = blocks_of(network, torch.randn(3, 1, 3, 3))
    assert rows.stream_shares.isna().all()
    assert rows.reason[:3].str.contains(r"stream_axis=.* of x \[3, 2, 9\]: must be").all()
    assert rows.skip_share[:3].notna().all()


def test_a_block_that_declares_nothing_has_no_shares():
    network = nn.Sequential(nn.Linear(3, 3), _Plain(), nn.Linear(3, 2))
    rows, _ = blocks_of(network, torch.randn(4, 3))
    assert rows.stream_shares.isna().all()


class _Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, x):
        return x + self.linear(x)


def test_streams_of_their_own_have_a_reason_and_no_split():
    rows = blocks_of(reversible((1, 3, 1), 2), torch.randn(5, 1, 3, 1))[0]
    inside = rows[:-1]  # the last row is of the output
    assert len(inside) == 5
    assert inside.skip_share.isna().all()
    assert inside.reason.str.contains("used elsewhere too").all()


def test_a_study_of_them_is_refused_by_the_ledger_with_the_reason(tmp_path):
    network = CustomConfig(builder="tests.support.builders:reversible")
    execute(small_config(tmp_path, network=network, steps=2))
    told = "no block has a ledger .* such as: a tensor inside the branch is used elsewhere too"
    with pytest.raises(GradflowError, match=told):
        ledger.analyze(Output(load_study(tmp_path / "scratch")))


class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(3 * k, 3) for k in (1, 2, 3))
        self.out = nn.Linear(12, 2)

    def forward(self, x):
        for layer in self.layers:
            x = torch.cat([x, layer(x).relu()], dim=1)
        return self.out(x)


def test_dense_connections_have_no_rows():
    network, x = Dense(), torch.randn(5, 3)
    assert "blocks" not in measure(network, lambda: network(x).square().sum())
