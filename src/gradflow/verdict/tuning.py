"""Would another learning rate of the sweep remove the gap?

Nothing here compares networks at rates that were picked by their errors: of five equal rates
the best one, even when it is chosen for a seed by the other seeds, would be called degraded in up
to 25 % of simulated studies that are not.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from gradflow.statistics import CLAIM_FROM, CONFIDENCE
from gradflow.verdict.outcome import (
    DEGRADATION,
    LEVEL,
    MARGIN,
    NO_DIFFERENCE,
    Comparison,
    Errors,
    Floats,
    against_shallower,
    claimed,
    compare,
    holm_over,
    reference,
    table_size,
)

RATE = "optimizer_learning_rate"
REMOVES, DOES_NOT, NO_GAP, UNKNOWN = "removes the gap", "does not", "no gap", "unknown"
ONE_RATE = "one rate tried"


class Tuning(NamedTuple):
    """The word for each depth (..., depth), and what decided.

    best: the index of the rate at which the plain network fits best on average.
    from_twin: it minus its residual twin at the judged rate.
    p: that it is worse than that at every rate, and than a shallower one; after Holm.
    """

    word: npt.NDArray[np.str_]
    best: npt.NDArray[np.intp]
    from_twin: Comparison
    p: Floats


def judged_rate(rates: pd.Series) -> float:
    """The rate that a sweep's outcome is about: that of most runs, the middle one among equals.

    It looks at no error: a rate that was chosen because some network does well at it would
    make the others look worse than they are.
    """
    counts = rates.value_counts().sort_index()
    most = counts.index[counts == counts.max()]
    return float(most[(len(most) - 1) // 2])


def tune(
    outcome: npt.NDArray[np.str_], sweep: Errors, judged: int | npt.NDArray[np.intp], axes: int = 1
) -> Tuning:
    """What the other rates say of each depth.

    `does not`: at every rate the plain network is above its twin and above a shallower plain
    network, both at the judged rate: the largest p value of all rates counts, which needs no
    correction. `removes the gap`: at some rate, corrected for their number, it is at most a
    point above its twin at each of the twin's rates. A rate at which the network has a run
    that diverged removes nothing.

    Args:
        outcome: of the judged rate (..., depth).
        sweep: training errors (..., rate, depth, seed); Inf is a diverged run, NaN none.
        judged: the index of the rate that the outcome is about, (...).
        axes: as in `judge`.
    """
    plain, residual = sweep
    rates, depths = plain.shape[-3:-1]
    among = table_size(np.moveaxis(plain, -3, 0), axes)
    at = np.broadcast_to(judged, plain.shape[:-3])[..., None]
    here = [np.take_along_axis(errors, at[..., None, None], axis=-3) for errors in sweep]
    from_twin = compare(claimed(plain) - reference(here[1]), among)
    pooled = (-1,) if axes == 1 else (-1, -3)  # without rates
    from_shallower, _ = against_shallower(plain, among, pooled, here[0])
    there = np.asarray(~np.isnan(plain).all(axis=-1))  # (..., rate, depth)
    usable = there & ~np.isinf(plain).any(axis=-1)
    p = np.nan_to_num(np.maximum(from_shallower.p, from_twin.p), nan=1.0)
    p[from_shallower.inside | from_twin.inside] = 1.0
    counts = usable | (np.arange(rates) == at)[..., None]
    worst = np.where(counts, p, 0.0).max(axis=-2)
    several = there.sum(axis=-2) > 1
    p_all = holm_over(np.where(several & (np.arange(depths) > 0), worst, np.nan), axes)

    # Every rate of the plain network against every rate of its twin: (..., rate, rate, depth).
    pairs = claimed(plain)[..., :, None, :, :] - reference(residual)[..., None, :, :, :]
    level = 1 - (1 - CONFIDENCE) / rates
    gap = compare(pairs, among, level)
    unrun = np.asarray(np.isnan(residual).all(axis=-1))[..., None, :, :]
    closed = (((gap.high <= MARGIN) & (gap.n >= CLAIM_FROM)) | unrun).all(axis=-2)
    removed = (closed & usable & ~unrun.all(axis=-2)).any(axis=-2)

    means = np.where(usable & (from_twin.n > 0), from_twin.mean, np.inf)
    best = means.argmin(axis=-2)
    at_best = (np.take_along_axis(v, best[..., None, :], axis=-2)[..., 0, :] for v in from_twin)
    degraded = outcome == DEGRADATION
    word = np.select(
        [degraded & several & removed, degraded & (p_all <= LEVEL), outcome == NO_DIFFERENCE],
        [REMOVES, DOES_NOT, NO_GAP],
        UNKNOWN,
    )
    word = np.select([several, there.any(axis=-2)], [word, ONE_RATE], UNKNOWN)
    return Tuning(word, best, Comparison(*at_best), p_all)
