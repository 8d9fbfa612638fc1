"""What a dry run says of the cost, by hand; how the prices are found; what tells runs apart."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from gradflow.config.probes import InitializationConfig, OffConfig
from gradflow.config.run import EvaluationConfig
from gradflow.config.run_id import flatten
from gradflow.data.dataset import load_dataset
from gradflow.data.sets.digits import DigitsConfig
from gradflow.networks import count_macs, make_network
from gradflow.networks.families.cifar_resnet import CifarResNetConfig
from gradflow.networks.families.mlp import MlpConfig
from gradflow.runs import timing
from gradflow.runs.cost import HANDLING, Prices, Work, fit_prices, kind_of, makespan, run_work
from gradflow.runs.execute import execute
from gradflow.runs.forecast import _costs, differing, forecast
from gradflow.runs.planning import cache_of, plan
from gradflow.runs.status import disk_use
from gradflow.runs.timing import Timed, time_kinds, time_side_by_side
from tests.support.configs import small_config

MACS = count_macs(make_network(CifarResNetConfig(depth=8, width=4), (1, 8, 8), 10, 0), (1, 8, 8))


def priced(per_mac, per_layer, start, calls=None):
    """A clock that is not of this world: every step takes what these prices say."""

    def measure(kinds, workers):
        if calls is not None:
            calls.append((kinds, workers))
        found = []
        for kind in kinds:
            for config, macs in kind[:2]:
                layers = 3 * config.network.depth
                step = per_mac * 3 * macs * config.data.batch_size + per_layer * layers
                found.append(Timed(config, step + start, step))
        return found

    return measure


def cost(config, measure):
    [found], _ = _costs([config], 1, measure)
    return found.seconds - HANDLING


def test_the_arithmetic_of_a_run_by_hand():
    config = small_config("unused", depth=8, steps=10)  # batch 32, 128 images, evaluation every 4
    work = run_work(flatten(config), macs=1000, steps=10, splits=(1437, 360))
    # 10 steps of 32 images, three passes each; after steps 4, 8 and 10 128 + 360 images are
    # evaluated, in 1 + 2 batches of up to 256.
    assert work == Work(3 * 10 * 32 * 1000 + 3 * 488 * 1000, 3 * 10 * 8 + 3 * 3 * 8, 1)
    config = replace(config, evaluation=EvaluationConfig(every=10, images=50))
    work = run_work(flatten(config), macs=1000, steps=10, splits=(1437, 360))
    assert work == Work(3 * 10 * 32 * 1000 + 100 * 1000, 3 * 10 * 8 + 2 * 8, 1)
    config = replace(config, evaluation=EvaluationConfig(every=5, images=50, all_at_end=True))
    work = run_work(flatten(config), macs=1000, steps=10, splits=(1437, 360))
    # After step 5 in one batch each, after step 10 all 128 + 360 images in 1 + 2.
    assert work == Work(3 * 10 * 32 * 1000 + 588 * 1000, 3 * 10 * 8 + 5 * 8, 1)
    row = pd.DataFrame([flatten(config)]).iloc[0]  # as the runs table has it
    assert run_work(row, macs=1000, steps=10, splits=(1437, 360)) == work


@pytest.mark.parametrize("true", [(2e-9, 0.0, 0.0), (0.0, 1e-4, 0.5), (1e-10, 3e-5, 0.2)])
def test_prices_are_found_again(true):
    works = [Work(1e9, 24, 1), Work(1e9, 24, 0), Work(4e9, 330, 1), Work(4e9, 330, 0)]
    fitted = fit_prices([(work, Prices(*true).seconds(work)) for work in works])
    np.testing.assert_allclose(fitted, true, rtol=1e-9, atol=1e-15)
    [work] = works[:1]  # of one measurement all goes by the arithmetic
    assert fit_prices([(work, 3.0)]).seconds(work._replace(macs=2e9)) == pytest.approx(6.0)


def test_a_forecast_with_fake_prices_is_exact(tmp_path):
    """And in proportion to steps, batch and multiply-accumulates, each alone."""
    off = {
        "probe": OffConfig(),
        "details": OffConfig(),
        "evaluation": EvaluationConfig(every=10**6),
    }

    def config(steps=100, batch=32, width=4):
        made = small_config(tmp_path, steps=steps, network=CifarResNetConfig(depth=8, width=width))
        return replace(made, data=DigitsConfig(batch_size=batch, subset=128), **off)

    evaluated = 128 + 360
    by_mac = priced(1e-9, 0, 0)
    assert cost(config(), by_mac) == pytest.approx(1e-9 * MACS * (300 * 32 + evaluated))
    assert cost(config(steps=700), by_mac) == pytest.approx(1e-9 * MACS * (2100 * 32 + evaluated))
    assert cost(config(batch=64), by_mac) == pytest.approx(1e-9 * MACS * (300 * 64 + evaluated))
    wide = count_macs(
        make_network(CifarResNetConfig(depth=8, width=8), (1, 8, 8), 10, 0), (1, 8, 8)
    )
    assert cost(config(width=8), by_mac) == pytest.approx(1e-9 * wide * (300 * 32 + evaluated))
    both = priced(1e-9, 1e-3, 0.5)
    configs = [config(), replace(config(), network=CifarResNetConfig(depth=20, width=4))]
    costs, origin = _costs(configs, 1, both)
    assert origin == "2 networks timed just now"
    for one, found in zip(configs, costs, strict=True):
        macs = count_macs(make_network(one.network, (1, 8, 8), 10, 0), (1, 8, 8))
        layers = one.network.depth * (300 + 3)
        exact = HANDLING + 1e-9 * macs * (9600 + evaluated) + 1e-3 * layers + 0.5
        assert found.seconds == pytest.approx(exact)


def test_what_nobody_timed_is_timed_once_for_each_kind(tmp_path):
    """Twins and seeds are one network; the residual one is timed."""
    calls = []
    runs = [
        plan(replace(small_config(tmp_path, skip=skip, seed=seed), network=network(skip)))
        for network in (
            lambda skip: CifarResNetConfig(depth=8, width=4, skip=skip),
            lambda skip: CifarResNetConfig(depth=14, width=4, skip=skip),
            lambda skip: MlpConfig(depth=10, skip=skip),
        )
        for skip in (False, True)
        for seed in (0, 1)
    ]
    text = forecast(runs, 2, priced(1e-9, 0, 0, calls))
    [(kinds, workers)] = calls
    assert workers == 2
    timed = [[(c.network.name, c.network.depth, c.network.skip) for c, _ in k] for k in kinds]
    assert timed == [[("cifar_resnet", 8, True), ("cifar_resnet", 14, True)], [("mlp", 10, True)]]
    assert "from 3 networks timed just now" in text
    assert "network=mlp network.depth=10 network.skip=false seed=1" in text


def test_ended_runs_of_this_machine_alone_count(tmp_path):
    config = small_config(tmp_path, depth=8, steps=8)
    folder = execute(config).folder
    calls = []
    measure = priced(1e-9, 0, 0, calls)
    wanted = [plan(small_config(tmp_path, depth=depth, seed=3)) for depth in (8, 20)]
    assert "from 1 ended runs of this machine" in forecast(wanted, 1, measure)
    assert not calls
    took = pq.read_table(folder / "attempts", partitioning=None)
    [same], _ = _costs([replace(config, seed=3)], 1, measure)  # as large, so it takes as long
    assert same.seconds == pytest.approx(HANDLING + took["wall_seconds"][0].as_py())
    other = took.set_column(
        took.column_names.index("instruction_set"), "instruction_set", [["another"]]
    )
    [part] = (folder / "attempts").iterdir()
    pq.write_table(other.replace_schema_metadata(None), part)
    assert "from 2 networks timed just now" in forecast(wanted, 1, measure)
    assert len(calls) == 1


def test_a_kind_is_what_a_layer_costs():
    config = small_config("unused")
    kind = kind_of(flatten(config))
    for alike in (
        small_config("unused", depth=20, skip=False, seed=5, steps=99),
        replace(config, network=CifarResNetConfig(depth=8, width=4, initialization="xavier")),
    ):
        assert kind_of(flatten(alike)) == kind
    for other in (
        replace(config, network=CifarResNetConfig(depth=8, width=8)),
        replace(config, data=DigitsConfig(batch_size=64)),
        replace(config, dtype="bfloat16"),
        replace(config, threads=config.threads + 1),
    ):
        assert kind_of(flatten(other)) != kind


def test_steps_are_timed_and_nothing_is_left(tmp_path, monkeypatch):
    """A small and a larger network; torch's random state and the folder stay as they were.

    By a clock that goes on by a hundredth of a second whenever it is read, so that what fits
    into the time is the same on every machine.
    """
    import torch

    ticks = itertools.count()
    monkeypatch.setattr(timing, "_clock", lambda config: lambda: 0.01 * next(ticks))
    config = small_config(tmp_path, network=MlpConfig(depth=10))
    deep = small_config(tmp_path, network=MlpConfig(depth=20))
    load_dataset(config.data, cache_of(config))
    before = sorted(tmp_path.rglob("*")), torch.random.get_rng_state()
    found = time_side_by_side([[(deep, 200), (config, 100)]], workers=1, seconds=0.5)
    assert [one.config for one in found] == [config, deep]
    assert all(one.start > 0 and one.step > 0 for one in found)
    assert sorted(tmp_path.rglob("*")) == before[0]
    assert torch.equal(torch.random.get_rng_state(), before[1])
    [only] = time_kinds([[(config, 100), (deep, 10**9)]], seconds=0.1)  # too large to be timed
    assert only.config == config


def test_the_disk_is_about_what_a_run_leaves(tmp_path):
    """Within a factor 2: Parquet's compression depends on the numbers."""
    config = small_config(tmp_path, depth=14, steps=60)
    [found], _ = _costs([config], 1, priced(1e-9, 0, 0))
    assert found.disk == pytest.approx(disk_use(execute(config).folder), rel=0.5)


def test_runs_are_told_apart_by_what_differs(tmp_path):
    narrow = small_config(tmp_path, depth=8, steps=8)
    wide = replace(narrow, network=CifarResNetConfig(depth=8, width=8, skip=False))
    swept = differing([narrow, wide])
    assert swept(wide) == {"network.width": 8, "network.skip": False}
    mlp = replace(narrow, network=MlpConfig(depth=10), probe=InitializationConfig())
    # A family's own defaults come with it; so do a schedule's.
    assert differing([narrow, mlp])(mlp) == {"network": "mlp", "probe": "initialization"}
    assert differing([narrow])(narrow) == {}


def test_workers_begin_the_next_run_when_they_are_free():
    assert makespan([5, 4, 3, 2], 2) == 7  # 5 + 2 and 4 + 3
    assert makespan([5], 4) == 5
    assert makespan([], 2) == 0
