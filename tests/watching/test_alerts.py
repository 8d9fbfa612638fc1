"""Alerts by hand-made steps: each rule fires at its threshold, as long as it must, and once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import gradflow
from benchmarks import alerts as measured
from gradflow.watching.alerts import QUIET, Alarms, reference
from gradflow.watching.rules import RULES
from gradflow.watching.seen import YOUNG, Seen
from gradflow.watching.siblings import Siblings
from tests.support.watched import residual, train

LAYERS = 8


def healthy(step=0, **changes):
    """A step of eight layers and five blocks at which nothing is wrong."""
    calm = Seen(
        step=step,
        layers=[f"l{i}" for i in range(LAYERS)],
        present=np.ones(LAYERS, dtype=bool),
        gradient=np.ones(LAYERS),
        weight=np.ones(LAYERS),
        update=np.full(LAYERS, 1e-3),
        blocks=[*"abcde", "end of e"],
        rms=np.array([1.0, 1.0, 1.0, 1.0, 1.0, np.nan]),
        block_gradient=np.ones(6),
        dead=np.zeros(6),
        loss=1.0,
    )
    return replace(calm, **changes)


def but(values, place, value):
    changed = np.array(values, dtype=float)
    changed[place] = value
    return changed


CALM = healthy()
CASES = {
    "non_finite": ({"gradient": but(CALM.gradient, [0, 1, 2], np.nan)}, "l2"),
    "exploding": ({"block_gradient": but(CALM.block_gradient, 0, 1001)}, "a"),
    "vanishing": ({"block_gradient": but(CALM.block_gradient, 0, 0.9e-3)}, "a"),
    "dead": ({"gradient": but(CALM.gradient, 3, 0)}, "l3"),
    "large_update": ({"update": np.full(LAYERS, 0.26)}, "l0"),
    "fast_layer": ({"update": but(CALM.update, 5, 0.041)}, "l5"),
    "slow_layer": ({"update": but(CALM.update, 6, 1.9e-5)}, "l6"),
    "small_update": ({"update": np.full(LAYERS, 0.9e-7)}, "all layers"),
    "stream": ({"rms": np.array([1, 1, 1, 23, 23, np.nan])}, "c"),
    "missing_skip": ({"without_sum": {"d": 1.0}}, "d"),
}
JUST_WITHIN = {
    "exploding": {"block_gradient": but(CALM.block_gradient, 0, 999)},
    "vanishing": {"block_gradient": but(CALM.block_gradient, 0, 1.1e-3)},
    "large_update": {"update": np.full(LAYERS, 0.24)},
    "fast_layer": {"update": but(CALM.update, 5, 0.039)},
    "slow_layer": {"update": but(CALM.update, 6, 2.1e-5)},
    "small_update": {"update": np.full(LAYERS, 1.1e-7)},
    "stream": {"rms": np.array([1, 1, 1, 22, 22, np.nan])},  # 10 sqrt(5) = 22.4
}


def persistence(kind):
    return max(rule.persist for rule in RULES if rule.kind == kind)


@pytest.mark.parametrize("kind", CASES)
def test_a_finding_alerts_when_it_has_lasted_and_names_its_place(kind):
    change, place = CASES[kind]
    alarms = Alarms()
    for step in range(persistence(kind) - 1):
        assert alarms.see(healthy(step, **change)) == []
    [alert] = alarms.see(healthy(9, **change))
    assert (alert.step, alert.kind, alert.place) == (9, kind, place)
    assert place in alert.text or kind == "small_update"
    for step in range(10, 30):  # it is the same alert as long as it lasts
        assert alarms.see(healthy(step, **change)) == []
    for step in range(30, 31 + QUIET):
        assert alarms.see(healthy(step)) == []
    found = [a for s in range(50, 53) for a in alarms.see(healthy(s, **change))]
    assert [alert.kind for alert in found] == [kind]


@pytest.mark.parametrize("kind", JUST_WITHIN)
def test_within_the_threshold_there_is_no_alert(kind):
    alarms = Alarms()
    assert [alarms.see(healthy(step, **JUST_WITHIN[kind])) for step in range(5)] == [[]] * 5


def test_a_finding_that_is_interrupted_does_not_last():
    alarms, change = Alarms(), CASES["dead"][0]
    for step in range(12):
        assert alarms.see(healthy(step, **(change if step % 3 else {}))) == []


def test_a_jump_of_the_gradient():
    alarms = Alarms()
    for step in range(5):
        assert alarms.see(healthy(step)) == []
    assert alarms.see(healthy(5, gradient=np.full(LAYERS, 9.9))) == []
    [alert] = alarms.see(healthy(6, gradient=but(np.full(LAYERS, 98.0), 2, 200)))
    assert (alert.kind, alert.place) == ("jump", "l2")
    total = np.sqrt(7 * 98.0**2 + 200**2)
    assert alert.value == pytest.approx(total / (9.9 * np.sqrt(LAYERS)))


def test_where_a_forward_pass_breaks_the_block_is_named():
    broken = {"gradient": np.full(LAYERS, np.nan), "loss": np.nan}
    [alert] = Alarms().see(healthy(**broken, rms=np.array([1, 1, np.inf, np.nan, np.nan, np.nan])))
    assert alert.place == "b"  # its output is the input of c
    [alert] = Alarms().see(healthy(loss=np.inf))
    assert alert.place == "the loss"


def test_a_scaler_may_skip_steps():
    alarms, change = Alarms(scaled=True), CASES["non_finite"][0]
    assert alarms.see(healthy(0, **change)) == alarms.see(healthy(1, **change)) == []
    assert [alert.kind for alert in alarms.see(healthy(2, **change))] == ["non_finite"]


def test_a_weight_that_begins_at_0_may_move_by_its_own_size():
    alarms = Alarms()
    large = {"update": but(CALM.update, 1, 0.9)}
    assert alarms.see(healthy(0, weight=but(CALM.weight, 1, 0), **large)) == []
    for step in range(1, YOUNG):
        assert alarms.see(healthy(step, **large)) == []
    assert {alert.kind for alert in alarms.see(healthy(YOUNG, **large))} == {"fast_layer"}


def test_layers_are_compared_with_their_like_alone():
    names = [*CALM.layers[:7], "positions"]
    assert Alarms().see(healthy(layers=names, update=but(CALM.update, 7, 0.1))) == []


def test_a_network_without_blocks_is_judged_by_its_layers():
    none = {"blocks": [], "rms": np.zeros(0), "block_gradient": np.zeros(0), "dead": np.zeros(0)}
    slope = 10.0 ** np.linspace(-4, 0, LAYERS)
    [alert] = Alarms().see(healthy(gradient=slope, **none))
    assert (alert.kind, alert.place) == ("vanishing", "l0")
    expected = np.median(slope[:2]) / np.median(slope[-2:])
    assert alert.value == pytest.approx(expected)


def test_siblings_are_blocks_built_alike(tmp_path):
    def sums(name, network):
        with gradflow.watch(network, tmp_path / name, every=1) as watch:
            train(network, 2, watch)
        return [(alert.kind, alert.place) for alert in watch.alerts if alert.kind == "missing_skip"]

    assert sums("whole", residual()) == []
    assert sums("third", residual(without_skip=3)) == [("missing_skip", "4")]
    assert sums("first", residual(without_skip=0)) == [("missing_skip", "1")]


def test_blocks_that_change_the_width_need_no_sum():
    class Narrowing(nn.Module):
        def __init__(self, wide):
            super().__init__()
            self.one, self.two = nn.Linear(wide, 4), nn.Linear(4, 4)

    network = nn.Sequential(*(Narrowing(4) for _ in range(5)), Narrowing(8))
    groups = Siblings(network)._groups
    assert [names for names, _ in groups] == [list("01234")] * 2


def test_every_rule_is_on_the_page():
    """`gradflow.watching.alerts.reference()` makes it anew."""
    page = (Path(__file__).parents[2] / "docs" / "reference" / "alerts.md").read_text()
    assert reference() in page


@pytest.mark.parametrize("seed", [100])
def test_healthy_trainings_have_no_alert_in_short(seed):
    torch.manual_seed(0)
    trainings = [replace(t, steps=16) for t in measured.HEALTHY]
    found = {t.name: measured.trained(t, seed)[0] for t in trainings}
    assert not any(found.values()), found


@pytest.mark.parametrize("fault", measured.FAULTS[:4])
def test_planted_faults_have_an_alert_in_short(fault):
    training = next(t for t in measured.HEALTHY if t.name == "GPT, 6 blocks")
    alerts, _ = measured.trained(replace(fault(training), steps=26), 100)
    kinds = {alert.kind for alert in alerts}
    expected = {
        "fast_layer": "fast_layer",
        "missing_skip": "missing_skip",
        "wrong_initialization": "stream",
        "overflow": "non_finite",
    }
    assert expected[fault.__name__] in kinds
