"""Random residual blocks of other people: their parts are found without names, or null.

The oracle (tests/support/foreign.py) gives the shortcut and the branch a view of x each.
"""

import pytest
import torch

from gradflow.probes import Probes
from tests.support.foreign import Foreign, Net, truth

CLOSE = 1e-10
NAMES = ("input_grad_norm", "skip_grad_norm", "branch_grad_norm", "elsewhere_grad_norm")


def compare(seed):
    """How many blocks of a random network are found, and how many there are."""
    net, x = Net(seed), torch.randn(3, 5, 4, dtype=torch.float64)
    torch.manual_seed(1)
    expected = truth(net, x)
    net.zero_grad()
    torch.manual_seed(1)
    net(x).backward()
    bare = [p.grad for p in net.parameters()]
    net.zero_grad()
    torch.manual_seed(1)
    with Probes(net) as probes:
        probes.arm(0)
        net(x).backward()
    for gradient, parameter in zip(bare, net.parameters(), strict=True):
        assert (gradient is None) == (parameter.grad is None)
        assert gradient is None or torch.equal(gradient, parameter.grad)
    rows = probes.tables()["blocks"].to_pylist()
    found = 0
    for name, (total, skip, branch) in expected.items():
        mine = [row for row in rows if row["block_name"].split(":")[0] == name]
        split = [row for row in mine if row["skip_grad_norm"] is not None]
        assert all(row["reason"] for row in mine if row not in split)
        found += bool(split)
        inside = skip + branch
        norms = [float(part.norm()) for part in (total, skip, branch, total - inside)]
        size = float(inside.square().sum())
        share = None  # of no gradient
        if size:
            share = pytest.approx(float((skip * inside).sum()) / size, rel=CLOSE, abs=CLOSE)
        for row in split:
            about = f"seed {seed}, {name}: {net.get_submodule(name).describe()}"
            assert [row[n] for n in NAMES] == pytest.approx(norms, rel=CLOSE, abs=CLOSE), about
            assert row["skip_share"] == share, about
    return found, sum(isinstance(module, Foreign) for module in net.modules())


def check(seeds):
    """Two joins of thirteen are not additions (stack, cat: a sixth of the blocks); nine tenths
    of the others are found."""
    counts = [compare(seed) for seed in seeds]
    found, there = map(sum, zip(*counts, strict=True))
    assert there > 4 * len(seeds)
    assert found > 0.9 * there * 11 / 13


def test_parts_of_three_hundred_random_blocks_are_right_or_null():
    check(range(75))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(100, 700, 100))
def test_parts_of_more_random_blocks(first):
    check(range(first, first + 100))
