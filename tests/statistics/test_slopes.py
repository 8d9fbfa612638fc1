"""Exponents against NumPy, their tests against scipy.stats, and how often those are wrong."""

import numpy as np
import pytest
import scipy.stats

from gradflow.statistics import holm, log_slopes, range_test

pytestmark = pytest.mark.numeric

WIDTHS = [64, 128, 200, 512]


def test_the_exponent_is_that_of_a_fit():
    sizes = np.random.default_rng(0).lognormal(size=(3, 5, 4))
    found = log_slopes(sizes, WIDTHS)
    fits = [np.polyfit(np.log(WIDTHS), np.log(row), 1)[0] for row in sizes.reshape(-1, 4)]
    np.testing.assert_allclose(found.ravel(), fits)
    np.testing.assert_allclose(log_slopes(3 * np.array(WIDTHS) ** -0.5, WIDTHS), -0.5)


@pytest.mark.parametrize("wrong", [0.0, -1.0, np.nan, np.inf])
def test_what_has_no_logarithm_has_no_exponent(wrong):
    assert np.isnan(log_slopes([1, wrong, 1, 1], WIDTHS))


def test_the_tests_are_those_of_scipy():
    samples = np.random.default_rng(1).normal(0.1, 0.2, size=(6, 5))
    samples[5] = np.nan
    low, high = np.array([-0.2, -0.2, -np.inf, 0.0, 0.3, 0.0]), 0.25
    found = range_test(samples, low, high)
    outside, inside = [], []
    for sample, end in zip(samples[:5], low[:5], strict=True):
        p = {
            ("below", "less"): 1.0, ("below", "greater"): 0.0,
            ("above", "greater"): scipy.stats.ttest_1samp(sample, high, alternative="greater"),
            ("above", "less"): scipy.stats.ttest_1samp(sample, high, alternative="less"),
        }  # fmt: skip
        if np.isfinite(end):
            for side in ("less", "greater"):
                p["below", side] = scipy.stats.ttest_1samp(sample, end, alternative=side)
        p = {key: getattr(value, "pvalue", value) for key, value in p.items()}
        outside.append(min(1, 2 * min(p["below", "less"], p["above", "greater"])))
        inside.append(max(p["below", "greater"], p["above", "less"]))
    np.testing.assert_allclose(found.outside[:5], holm(outside))
    np.testing.assert_allclose(found.inside[:5], inside)
    assert np.isnan(found.outside[5])
    assert np.isnan(found.inside[5])


def test_a_sample_without_spread_is_where_it_is():
    found = range_test([[0.1] * 3, [0.3] * 3, [-0.3] * 3], -0.25, 0.25)
    assert found.outside.tolist() == [1, 0, 0]
    assert found.inside.tolist() == [0, 1, 1]


FAMILIES = 1000
LIMIT = 0.05 + 3 * np.sqrt(0.05 * 0.95 / FAMILIES)  # and three standard errors of the count


def families(draw, means, seeds, shared):
    """Samples (family, test, seed) that share a part of their noise."""
    rng = np.random.default_rng([seeds, int(10 * shared)])
    own, common = draw(rng, (FAMILIES, len(means), seeds)), draw(rng, (FAMILIES, 1, seeds))
    return np.array(means)[:, None] + 0.1 * (np.sqrt(1 - shared) * own + np.sqrt(shared) * common)


NOISE = {
    "Gaussian": lambda rng, shape: rng.standard_normal(shape),
    "heavy-tailed, t(4)": lambda rng, shape: rng.standard_t(4, shape) / np.sqrt(2),
    "uniform": lambda rng, shape: rng.uniform(-1, 1, shape) * np.sqrt(3),
}


@pytest.mark.parametrize("noise", NOISE)
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("shared", [0.0, 0.9])
def test_either_error_has_at_most_its_chance(noise, seeds, shared):
    """All means at an end of the range: whatever is called outside is wrong. One of them there,
    the others in the middle: that all are called inside is wrong."""
    ends = families(NOISE[noise], [0.25] * 10 + [-0.25] * 10, seeds, shared)
    wrong = [(range_test(f, -0.25, 0.25).outside <= 0.05).any() for f in ends]
    assert np.mean(wrong) <= LIMIT
    one = families(NOISE[noise], [0.25] + [0.0] * 5, seeds, shared)
    wrong = [(range_test(f, -0.25, 0.25).inside <= 0.05).all() for f in one]
    assert np.mean(wrong) <= LIMIT


def test_power():
    """Five seeds that differ by 0.1 and twenty exponents tell 0 and 1 from 1/4."""
    right = families(NOISE["Gaussian"], [0.0] * 20, 5, 0.5)
    assert np.mean([(range_test(f, -0.25, 0.25).inside <= 0.05).all() for f in right]) > 0.8
    wrong = families(NOISE["Gaussian"], [0.0] * 19 + [1.0], 5, 0.5)
    assert np.mean([(range_test(f, -0.25, 0.25).outside <= 0.05).any() for f in wrong]) > 0.9
