"""What few seeds can say: intervals, paired tests, corrections for asking often, effect sizes."""

from gradflow.statistics.intervals import (
    BOOTSTRAP_FROM,
    CONFIDENCE,
    Interval,
    geometric_interval,
    interval,
    interval_ends,
    interval_method,
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
    simes,
)

__all__ = [
    "BOOTSTRAP_FROM",
    "CLAIM_FROM",
    "CONFIDENCE",
    "SIGN_FLIPS_FROM",
    "Interval",
    "PairedTest",
    "effect_size",
    "geometric_interval",
    "holm",
    "interval",
    "interval_ends",
    "interval_method",
    "intervals_by",
    "p_values",
    "paired_test",
    "simes",
    "t_interval",
]
