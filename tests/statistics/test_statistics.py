"""Intervals against scipy.stats, which the package itself does not import."""

import numpy as np
import pandas as pd
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import intervals as simulation
from gradflow.statistics import (
    PERCENT,
    effect_size,
    geometric_interval,
    holm,
    interval,
    interval_ends,
    intervals_by,
    p_values,
    paired_test,
    pooled_spread,
    simes,
    t_interval,
)

pytestmark = pytest.mark.numeric

values = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=12)


@given(values)
def test_t_interval_agrees_with_scipy(sample):
    found = t_interval(sample)
    spread = np.std(sample, ddof=1) / np.sqrt(len(sample))
    low, high = np.mean(sample) + scipy.stats.t.ppf([0.025, 0.975], len(sample) - 1) * spread
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9, abs=1e-9)
    assert found.n == len(sample)


def test_a_geometric_interval_is_that_of_the_logarithms():
    found = geometric_interval([1e-3, 1.0, 1e6])
    told = t_interval([-3, 0, 6])
    assert np.log10(found[:3]) == pytest.approx(told[:3])
    assert found.n == 3


def test_one_value_has_no_interval():
    found = t_interval([3.0])
    assert found.mean == 3
    assert np.isnan(found.low)
    assert np.isnan(found.high)


@given(st.lists(values, min_size=1, max_size=4))
def test_intervals_by_agrees_group_by_group(groups):
    frame = pd.DataFrame(
        [{"group": i, "x": value} for i, group in enumerate(groups) for value in group]
    )
    for row in intervals_by(frame, ["group"], "x").itertuples():
        expected = t_interval(groups[row.group])
        assert (row.mean, row.low, row.high) == pytest.approx(expected[:3], rel=1e-9, abs=1e-6)


def test_log_interval_is_geometric():
    frame = pd.DataFrame({"k": ["a"] * 3, "x": [1.0, 10.0, 100.0]})
    [row] = intervals_by(frame, ["k"], "x", log=True).itertuples()
    reach = scipy.stats.t.ppf(0.975, 2) / np.sqrt(3)  # the logs are 0, 1, 2: s = 1
    assert (row.mean, row.low, row.high) == pytest.approx(
        (10, 10 ** (1 - reach), 10 ** (1 + reach))
    )


def test_log_interval_leaves_out_what_has_no_logarithm():
    frame = pd.DataFrame({"k": ["a", "a", "a"], "x": [0.0, 10.0, np.nan]})
    [row] = intervals_by(frame, ["k"], "x", log=True).itertuples()
    assert (row.mean, row.n) == (10, 1)


@given(st.lists(st.integers(0, 1437), min_size=2, max_size=12))
def test_a_percentage_has_the_logit_interval_within_its_range(images):
    """By SciPy: the mean's logit, and its standard error by the delta method."""
    errors = 100 * np.array(images) / 1437
    found = interval(errors, within=PERCENT)
    assert (found.mean, found.n, found.method) == (
        pytest.approx(errors.mean()),
        len(images),
        "logit t",
    )
    if len(set(images)) == 1:
        # Their mean may be off by a last bit, and so their spread is not exactly 0.
        assert (found.low, found.high) == pytest.approx((found.mean, found.mean), rel=1e-9)
        return
    assert 0 <= found.low <= found.mean <= found.high <= 100
    share = errors.mean() / 100
    error = scipy.stats.sem(errors / 100) / (share * (1 - share))
    ends = scipy.stats.t.interval(0.95, len(images) - 1, scipy.special.logit(share), error)
    expected = 100 * scipy.special.expit(ends)
    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=1e-9, abs=1e-9)


def test_an_interval_of_errors_does_not_leave_0_to_100():
    """A sample whose t interval begins below 0."""
    errors = [2.1, 4.0, 49.2]
    assert t_interval(errors).low < 0
    found = interval(errors, within=PERCENT)
    assert 0 < found.low < 18.4 < found.high < 100
    assert np.isnan(interval([1.0, np.nan], within=PERCENT).low)
    assert interval([3.0], within=PERCENT).method == "t"
    assert interval(errors) == t_interval(errors)


@pytest.mark.parametrize("n", [3, 5, 8, 10, 16])
def test_no_bootstrap_covers_more_of_what_is_drawn(n):
    """Of 1,000 samples: t against BCa and percentiles, its logit form against t for shares.

    Both are of the same samples: the difference has a standard error below 1 point.
    """
    draws = {k: simulation.UNBOUNDED[k] for k in ("Gaussian", "heavy-tailed, t(3)", "exponential")}
    for name, (draw, mean) in draws.items():
        ours = simulation.coverage("t", draw, mean, n, 1000)[0]
        others = [simulation.coverage(m, draw, mean, n, 1000)[0] for m in ("BCa", "percentile")]
        assert ours >= max(others) - 0.01, (name, ours, others)
    # Of shares the worst of the four kinds counts: where fewer than all values can occur,
    # coverage moves in jumps.
    ours, others = (
        min(simulation.coverage(m, *kind, n, 1000)[0] for kind in simulation.SHARES.values())
        for m in ("logit t", "t")
    )
    assert ours >= others - 0.01, (ours, others)


def test_gaussian_means_are_held_in_95_percent():
    """1,000 samples: 5 % and 3 standard errors, which one in 700 right intervals fails."""
    draw, mean = simulation.UNBOUNDED["Gaussian"]
    for n in (3, 8):
        held = simulation.coverage("t", draw, mean, n, 1000)[0]
        assert held >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / 1000)


@given(st.lists(values, min_size=1, max_size=4))
def test_the_pooled_spread_is_that_of_an_analysis_of_variance(groups):
    """sqrt of the mean square within groups; what is missing is left out."""
    longest = max(map(len, groups))
    padded = [[*group, *[np.nan] * (longest - len(group))] for group in groups]
    squares = sum(np.var(group) * len(group) for group in groups)
    expected = np.sqrt(squares / sum(len(group) - 1 for group in groups))
    assert pooled_spread(padded, axes=(0,)) == pytest.approx(expected, rel=1e-7, abs=1e-7)


def test_a_t_test_takes_at_least_the_spread_it_is_given():
    differences = np.array([1.0, 1.1, 1.2])
    expected = scipy.stats.t.sf(1.1 * np.sqrt(3) / 0.5, 2)
    assert p_values(differences, 1, 0.5) == pytest.approx(expected)
    assert p_values(differences, 1, 0.05) == paired_test(differences).p


def test_many_samples_at_once_are_each_their_own():
    samples = np.random.default_rng(0).normal(size=(3, 2, 9))
    low, high = interval_ends(samples)
    p = p_values(samples)
    for index in np.ndindex(3, 2):
        assert (low[index], high[index]) == pytest.approx(interval(samples[index])[1:3])
        assert p[index] == paired_test(samples[index]).p


@given(st.lists(st.floats(-100, 100).map(lambda x: round(x, 3)), min_size=3, max_size=7))
def test_paired_t_agrees_with_scipy(differences):
    plain = np.asarray(differences)
    found = paired_test(plain)
    assert found.method == "paired t"
    if plain.std() > 1e-9:
        expected = scipy.stats.ttest_rel(plain, np.zeros(len(plain)), alternative="greater").pvalue
        assert found.p == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_differences_without_spread():
    assert paired_test([0.0, 0.0, 0.0]).p == 1
    assert paired_test(np.zeros(9)).p == 1
    assert paired_test([-1.0, -1.0, -1.0]).p == 1
    assert paired_test([0.5, 0.5, 0.5]).p == 0
    assert np.isnan(effect_size([0.0, 0.0, 0.0]))


@pytest.mark.parametrize("n", [8, 11])
def test_sign_flips_agree_with_scipy(n):
    differences = np.random.default_rng(n).normal(0.4, 1, size=n).round(1)  # with ties
    expected = scipy.stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", alternative="greater",
        n_resamples=np.inf,
    )  # fmt: skip
    found = paired_test(differences)
    assert found.method == "sign flips"
    assert found.p == expected.pvalue


def test_many_seeds_draw_their_sign_flips():
    differences = np.random.default_rng(3).normal(0.3, 1, size=16)
    expected = scipy.stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", alternative="greater",
        n_resamples=np.inf,
    ).pvalue  # fmt: skip
    found = paired_test(differences).p
    assert found == paired_test(differences).p
    # The share of 9,999 draws, 5 standard errors: 1 in a million fails.
    assert found == pytest.approx(expected, abs=5 * np.sqrt(expected * (1 - expected) / 9_999))


def test_the_smallest_p_is_that_of_one_flip_in_all():
    assert paired_test(np.arange(1.0, 9)).p == 2**-8
    # 2^-8 could not be significant among 20: then the t test stays.
    assert paired_test(np.arange(1.0, 9), among=20).method == "paired t"
    assert paired_test(np.arange(1.0, 11), among=20).method == "sign flips"


def test_below_three_seeds_there_is_no_claim():
    found = paired_test([1.0, 2.0])
    assert (found.method, found.n) == ("none", 2)
    assert np.isnan(found.p)
    assert np.isnan(paired_test([1.0, np.nan, 2.0]).p)
    assert np.isnan(effect_size([1.0, 2.0]))


def test_holm_by_hand():
    # Sorted .01, .02, .03: times 3, 2, 1 is .03, .04, .03, and no smaller than the one before.
    assert holm([0.03, 0.01, np.nan, 0.02]) == pytest.approx(
        [0.04, 0.03, np.nan, 0.04], nan_ok=True
    )
    assert holm([0.5, 0.9]).tolist() == [1, 1]
    assert holm([[0.01, 0.04], [0.04, 0.04]]) == pytest.approx(np.array([[0.02, 0.04], [0.08] * 2]))


def test_simes_by_hand():
    assert simes([0.04, 0.01, np.nan, 0.03]) == pytest.approx(0.03)  # min of .03, .045, .04
    assert simes([0.04, 0.04]) == pytest.approx(0.04)
    assert np.isnan(simes([np.nan]))


def test_effect_size_in_closed_form():
    # m = 2: J = G(1) / (1 G(1/2)) = 1 / sqrt(pi); m = 3: G(3/2) / (sqrt(3/2) G(1)).
    assert effect_size([1.0, 2.0, 3.0]) == pytest.approx(2 / np.sqrt(np.pi))
    four = np.array([1.0, 1.0, 3.0, 3.0])
    correction = np.sqrt(np.pi) / 2 / np.sqrt(1.5)
    assert effect_size(four) == pytest.approx(correction * 2 / np.sqrt(4 / 3))


def test_a_sample_that_leaves_the_range_has_students_interval():
    """A relative squared error may exceed 100 %: no logit exists, and no width of 0 is shown."""
    samples = np.array([[120.0, 90.0, 101.0], [250.0, 190.0, 201.0], [10.0, 20.0, 30.0]])
    low, high = interval_ends(samples, within=PERCENT)
    free = interval_ends(samples)
    np.testing.assert_array_equal(low[:2], free[0][:2])
    np.testing.assert_array_equal(high[:2], free[1][:2])
    assert interval_ends(samples[2], within=PERCENT) == (low[2], high[2])
    assert interval(samples[0], within=PERCENT).method == "t"
    assert interval(samples[2], within=PERCENT).method == "logit t"
