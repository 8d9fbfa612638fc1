"""Intervals against scipy.stats, which the package itself does not import."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from gradflow.statistics import geometric_interval, intervals_by, t_interval

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
