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

__all__ = [
    "CLAIM_FROM",
    "CONFIDENCE",
    "PERCENT",
    "POINTS",
    "SIGN_FLIPS_FROM",
    "Interval",
    "PairedTest",
    "effect_size",
    "geometric_interval",
    "holm",
    "interval",
    "interval_ends",
    "intervals_by",
    "p_values",
    "paired_test",
    "pooled_spread",
    "simes",
    "t_interval",
]
