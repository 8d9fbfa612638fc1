"""Settings at their own best rates: cross-validated, ranked, and claimed only of all rates."""

import numpy as np
import pandas as pd
import pytest
import scipy.special
import scipy.stats

from benchmarks import null_sweeps as simulation
from gradflow.statistics import holm
from gradflow.verdict import RATE
from gradflow.verdict.ranking import best_ends, better, cross_validated, rank_settings

inf, nan = np.inf, np.nan


def test_the_rate_of_a_seed_is_the_best_of_the_others():
    errors = np.array([[0.1, 0.2, 0.6], [0.3, 0.3, 0.0]])
    # Without seed 0 the means are .4 and .15, without 1: .35 and .15, without 2: .15 and .3.
    rates, found = cross_validated(errors)
    assert rates.tolist() == [1, 1, 0]
    assert found.tolist() == [0.3, 0.3, 0.6]


def test_a_rate_at_which_another_seed_diverged_is_not_chosen():
    rates, found = cross_validated(np.array([[0.5, 0.5, 0.5], [0.1, 0.1, inf]]))
    assert rates.tolist() == [0, 0, 1]
    assert found[:2].tolist() == [0.5, 0.5]
    assert np.isnan(found[2])  # its own run diverged
    rates, found = cross_validated(np.array([[inf, inf, inf]]))
    assert rates.tolist() == [-1] * 3
    assert np.isnan(found).all()
    rates, found = cross_validated(np.array([[0.5], [0.1]]))
    assert (rates.tolist(), found.tolist()) == ([1], [0.1])


def test_the_interval_is_of_all_rates_together():
    errors = np.array([[0.10, 0.12, 0.15], [0.30, 0.35, 0.20], [0.01, 0.02, inf]])

    def ends(values, level):
        m, e = values.mean(), scipy.stats.sem(values)
        reach = scipy.stats.t.ppf((1 + level) / 2, 2) * e / (m * (1 - m))
        return scipy.special.expit(scipy.special.logit(m) + np.array([-reach, reach]))

    lows, highs = zip(*(ends(values, 1 - 0.05 / 2) for values in errors[:2]), strict=True)
    assert best_ends(errors) == (pytest.approx(min(lows)), pytest.approx(min(highs)))
    assert np.isnan(best_ends(errors[2:])).all()


def t_test(differences, least):
    d = np.asarray(differences)
    spread = max(d.std(ddof=1), least)
    return scipy.stats.t.sf(d.mean() * np.sqrt(len(d)) / spread, len(d) - 1)


def test_better_by_hand():
    """Two settings of two rates at one depth of one twin, from every pair of rates."""
    a = np.array([[0.10, 0.11, 0.13], [0.50, 0.52, 0.49]])
    b = np.array([[0.40, 0.43, 0.41], [0.60, 0.66, 0.61]])
    found = better(np.stack([a, b])[None, None])[0, 0]
    raw = {}
    for (i, own), (j, other) in (((0, a), (1, b)), ((1, b), (0, a))):
        p = np.array([[t_test(other[s] - own[r], 0) for s in (0, 1)] for r in (0, 1)])
        # Pooled over the two ordered pairs at these rates; the spread of -d is that of d.
        for r in (0, 1):
            for s in (0, 1):
                pair = [(b[s] - a[r]).std(ddof=1), (a[s] - b[r]).std(ddof=1)]
                p[r, s] = t_test(other[s] - own[r], np.sqrt(np.mean(np.square(pair))))
        raw[i, j] = min(2 * p.max(axis=1).min(), 1)
    assert found[[0, 1], [1, 0]] == pytest.approx(holm([raw[0, 1], raw[1, 0]]))
    assert found[0, 1] < 0.05
    assert found[1, 0] == 1
    assert np.isnan(found[0, 0])


def test_what_diverged_is_no_rival_and_shows_nothing():
    good, bad = np.array([[0.1, 0.11, 0.12], [0.1, inf, 0.1]]), np.array([[0.5, 0.51, 0.5]] * 2)
    bad[0] = [0.0, inf, 0.0]
    found = better(np.stack([good, bad])[None, None])[0, 0]
    assert found[0, 1] < 0.05  # its rival's first rate had a run that diverged
    assert found[1, 0] > 0.5
    lost = np.full((2, 3), inf)
    assert np.isnan(better(np.stack([good, lost])[None, None])).all()
    two_seeds = better(np.stack([good, bad])[None, None, ..., :2])
    assert np.isnan(two_seeds).all()


def make_runs(errors):
    """Runs of {(setting, twin, depth, rate): training errors by seed}."""
    rows = [
        {"norm": norm, "twin": twin, "depth": depth, RATE: rate, "seed": seed,
         "final_train_error": error, "run_id": f"{norm}-{twin}-{depth}-{rate}-{seed}"}
        for (norm, twin, depth, rate), values in errors.items()
        for seed, error in enumerate(values)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_table_ranks_and_names_whom_each_beats():
    errors = {
        ("batch", "plain", 8, 0.1): [0.10, 0.11, 0.12],
        ("batch", "plain", 8, 1.0): [0.50, 0.51, 0.55],
        ("dyt", "plain", 8, 0.1): [0.41, 0.40, 0.43],
        ("none", "plain", 8, 0.1): [nan, nan, nan],
        ("none", "residual", 8, 0.1): [0.2, nan, 0.3],
    }
    table = rank_settings(make_runs(errors), ["norm"])
    plain = table[table.twin == "plain"].set_index("norm")
    assert plain["rank"].to_dict() == {"batch": 1, "dyt": 2, "none": 3}
    assert plain.best_rate.tolist()[:2] == [0.1, 0.1]
    assert plain.error["batch"] == pytest.approx(11)
    assert plain.better_than.to_dict() == {"batch": "2", "dyt": "", "none": ""}
    assert plain.diverged.to_dict() == {"batch": 0, "dyt": 0, "none": 3}
    assert plain.rates.to_dict() == {"batch": 2, "dyt": 1, "none": 1}
    assert (plain.error_low.dropna() < plain.error.dropna()).all()
    alone = table[table.twin == "residual"].iloc[0]
    assert (alone["rank"], alone.diverged) == (1, 1)
    assert np.isnan(alone.p)


@pytest.mark.numeric
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("null", ["Gaussian", "all or nothing"])
def test_null_sweeps_rarely_claim_anything(null, seeds):
    """Of 300 sweeps at most 5 % and three standard errors, for verdict and ranks together: a
    rule of 5 % fails one time in 600 (exact binomial); `slow` has 1,000."""
    rate = simulation.false_rates(null, (2, 3), seeds, 300)[2]
    assert rate <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300), rate


@pytest.mark.numeric
@pytest.mark.parametrize("index", [0, 1], ids=["3 seeds", "5 seeds"])
def test_a_better_setting_is_found(index):
    for sweep, sizes in simulation.FOUND.items():
        rate = simulation.found_rate(sizes[index], sweep, simulation.SEEDS[index], 100)
        assert rate >= 0.9, (sweep, rate)  # of 95 %, 100 sweeps: 1 in 35 right rules has fewer


@pytest.mark.slow
@pytest.mark.parametrize("seeds", simulation.SEEDS)
def test_claims_of_a_thousand_null_sweeps(seeds):
    for null in simulation.NULLS:
        for sweep in simulation.SWEEPS:
            rates = simulation.false_rates(null, sweep, seeds, 1000)
            assert max(rates) <= simulation.LIMIT, (null, sweep, rates)
    for rates in (1, 3, 5):
        assert simulation.held_rate(seeds, rates, 1000) >= 1 - simulation.LIMIT
