"""Rates against values worked out by hand."""

import math

import pytest
import torch

from gradflow.core.errors import GradflowError
from gradflow.training.learning_rate import learning_rate
from gradflow.training.schedules.constant import ConstantConfig
from gradflow.training.schedules.cosine import CosineConfig
from gradflow.training.schedules.multi_step import MultiStepConfig
from gradflow.training.schedules.warmup_cosine import WarmupCosineConfig


def test_constant():
    assert {learning_rate(ConstantConfig(), 0.3, step, 10) for step in range(10)} == {0.3}


def test_multi_step_of_he_et_al_2015():
    schedule = MultiStepConfig(warmup_steps=400)
    rate = {
        s: learning_rate(schedule, 0.1, s, 64_000)
        for s in (0, 399, 400, 31_999, 32_000, 47_999, 48_000, 63_999)
    }
    expected = [0.01, 0.01, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001]
    assert list(rate.values()) == pytest.approx(expected, rel=1e-12)
    assert rate[400] == 0.1  # the warm-up is restored exactly


def test_cosine():
    rates = [learning_rate(CosineConfig(), 2.0, s, 4) for s in range(4)]
    assert rates == pytest.approx([2, 1 + math.sqrt(0.5), 1, 1 - math.sqrt(0.5)])


def test_warmup_cosine():
    schedule = WarmupCosineConfig(rise=0.5, start_divisor=10, end_divisor=100)
    rates = [learning_rate(schedule, 1.0, s, 101) for s in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[25] == pytest.approx(0.55)  # half way up
    assert rates[50] == pytest.approx(1.0)
    assert rates[75] == pytest.approx(0.505)  # half way down
    assert rates[100] == pytest.approx(0.01)
    assert rates[:51] == sorted(rates[:51])
    assert rates[50:] == sorted(rates[50:], reverse=True)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_warmup_cosine_of_few_steps(steps):
    assert all(0 < learning_rate(WarmupCosineConfig(), 1.0, s, steps) <= 1 for s in range(steps))


def test_milestones_must_rise():
    with pytest.raises(GradflowError, match=r"schedule.milestones=\(5, 3\): must be rising"):
        MultiStepConfig(milestones=(5, 3))


@pytest.mark.parametrize(("rise", "start", "end"), [(0.3, 25.0, 1e4), (0.5, 10.0, 100.0)])
def test_warmup_cosine_in_terms_of_torchs_one_cycle(rise, start, end):
    steps, peak = 40, 0.7
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=peak,
        total_steps=steps,
        pct_start=(rise * (steps - 1) + 1) / steps,
        div_factor=start,
        final_div_factor=end / start,
        cycle_momentum=False,
    )
    expected = []
    for _ in range(steps):
        expected += schedule.get_last_lr()
        optimizer.step()
        if len(expected) < steps:
            schedule.step()
    config = WarmupCosineConfig(rise=rise, start_divisor=start, end_divisor=end)
    rates = [learning_rate(config, peak, step, steps) for step in range(steps)]
    assert rates == pytest.approx(expected, rel=1e-12)
