"""What few seeds can say: intervals, paired tests, corrections for asking often, effect sizes."""

from gradflow.statistics.intervals import (
    CONFIDENCE,
    PERCENT,
    POINTS,
    Interval,
    geometric_interval,
    interval,
    interval_ends,
    intervals_by,
    t_interval,
)
from gradflow.statistics.paired import (
    CLAIM_FROM,
    SIGN_FLIPS_FROM,
    PairedTest,
    effect_size,
    holm,
    p_values,
    paired_test,
    pooled_spread,
    simes,
)
from gradflow.statistics.slopes import RangeTest, log_slopes, range_test

__all__ = [
    "CLAIM_FROM",
    "CONFIDENCE",
    "PERCENT",
    "POINTS",
    "SIGN_FLIPS_FROM",
    "Interval",
    "PairedTest",
    "RangeTest",
    "effect_size",
    "geometric_interval",
    "holm",
    "interval",
    "interval_ends",
    "intervals_by",
    "log_slopes",
    "p_values",
    "paired_test",
    "pooled_spread",
    "range_test",
    "simes",
    "t_interval",
]
