"""How often does a sweep of several settings claim what is not so, in any of its tables?

A part of `python -m benchmarks.verdict`. All settings of a null sweep are alike, and there is no
degradation. It has plain networks and twins of four depths, two to four settings, one or three
learning rates.
"""

import numpy as np

from benchmarks.noise import NOISE, POINT, Noise, failing, rounded
from gradflow.statistics import p_values
from gradflow.verdict.outcome import DEGRADATION, LEVEL, Errors, Floats, holm_over, judge
from gradflow.verdict.ranking import RANK_LEVEL, best_ends, better, cross_validated
from gradflow.verdict.tuning import DOES_NOT, tune

SEEDS = (3, 5, 10)
LIMIT = 0.064  # 64 of 1,000: 5 % and its sampling error, two standard errors
DEPTHS = 4
SWEEPS = ((2, 1), (4, 1), (2, 3), (3, 3))
"""Settings and learning rates."""

NULLS: dict[str, tuple[Noise, Noise]] = {
    "Gaussian": (NOISE["Gaussian"], NOISE["Gaussian"]),
    "heavy-tailed, t(2)": (NOISE["heavy-tailed, t(2)"], NOISE["heavy-tailed, t(2)"]),
    "at zero": (NOISE["at zero"], NOISE["at zero"]),
    "all or nothing": (failing(0.5), failing(0.5)),
    "plain all or nothing, twins fit": (failing(0.5), failing(0.0)),
}
"""Noise of plain networks and of twins."""


def null_sweeps(
    rng: np.random.Generator, null: str, sweep: tuple[int, int], seeds: int, studies: int
) -> Errors:
    """Errors (study, setting, rate, depth, seed) of settings that are alike."""
    shape = (studies, *sweep, DEPTHS, seeds)
    plain, residual = (rounded(noise(rng, shape)) for noise in NULLS[null])
    return Errors(plain, residual)


def by_setting(errors: Errors) -> Floats:
    """As `ranking` takes them: (study, twin, depth, setting, rate, seed)."""
    return np.moveaxis(np.stack(errors, axis=1), -2, 2)


def false_rates(
    null: str, sweep: tuple[int, int], seeds: int, studies: int
) -> tuple[float, float, float]:
    """Shares of null sweeps with a false claim: of the verdict, of the ranks, of either."""
    rng = np.random.default_rng([seeds, *sweep, *null.encode()])
    errors = null_sweeps(rng, null, sweep, seeds, studies)
    middle = (sweep[1] - 1) // 2
    at_judged = Errors(*(twin[:, :, middle] for twin in errors))
    word = judge(at_judged, at_judged, axes=2).word
    claimed = (word == DEGRADATION) | (tune(word, errors, middle, axes=2).word == DOES_NOT)
    verdict = claimed.any(axis=(-2, -1))
    ranks = (better(by_setting(errors)) <= RANK_LEVEL).any(axis=(1, 2, 3, 4))
    return float(verdict.mean()), float(ranks.mean()), float((verdict | ranks).mean())


def naive_rate(null: str, sweep: tuple[int, int], seeds: int, studies: int) -> float:
    """The same of t tests of cross-validated errors, with Holm's correction: why there are none."""
    rng = np.random.default_rng([seeds, *sweep, *null.encode()])
    _, error = cross_validated(by_setting(null_sweeps(rng, null, sweep, seeds, studies)))
    p = p_values(error[..., None, :, :] - error[..., :, None, :], among=10**9)  # a t test always
    p[..., np.eye(sweep[0], dtype=bool)] = np.nan
    return float((holm_over(p, axes=4) <= LEVEL).any(axis=(1, 2, 3, 4)).mean())


def held_rate(seeds: int, rates: int, studies: int) -> float:
    """How often the interval of the best rate's error holds it, of Gaussian errors, rates alike."""
    rng = np.random.default_rng([seeds, rates])
    low, high = best_ends(NOISE["Gaussian"](rng, (studies, rates, seeds)))
    return float(((low <= 0.3) & (high >= 0.3)).mean())


def found_rate(size: float, sweep: tuple[int, int], seeds: int, studies: int) -> float:
    """The share of sweeps in which one setting is found better than each other, at each depth.

    size: by how much its errors are less, in standard deviations of a paired difference.
    """
    rng = np.random.default_rng([seeds, *sweep, round(100 * size)])
    shape = (studies, 1, DEPTHS, sweep[0], sweep[1], seeds)
    errors = 0.4 + POINT / np.sqrt(2) * rng.standard_normal(shape)
    errors[:, :, :, 0] -= size * POINT
    claims = better(errors)[:, :, :, 0, 1:] <= RANK_LEVEL
    return float(claims.all(axis=(1, 2, 3)).mean())


FOUND = {(2, 1): (20.0, 5.5, 2.5), (3, 3): (60.0, 8.0, 3.0)}
"""Sizes that are found in 95 % of sweeps of 3, 5, 10 seeds: settings and rates -> size."""


def tables(studies: int) -> str:
    """Errors and power as Markdown."""
    head = " | ".join(f"{seeds} seeds" for seeds in SEEDS)
    lines = [
        f"| null sweeps with a false claim, % of {studies}: verdict, ranks, either | {head} |",
        "| --- |" + " ---: |" * 3,
    ]
    for null in NULLS:
        for sweep in SWEEPS:
            cells = " | ".join(
                ", ".join(f"{100 * rate:.1f}" for rate in false_rates(null, sweep, n, studies))
                for n in SEEDS
            )
            lines.append(f"| {null}; {_words(sweep)} | {cells} |")
    for sweep in SWEEPS[2:]:
        rates = (100 * naive_rate("Gaussian", sweep, seeds, studies) for seeds in SEEDS)
        cells = " | ".join(f"{rate:.1f}" for rate in rates)
        lines.append(f"| if cross-validated errors were t tested: {_words(sweep)} | {cells} |")
    lines += ["", f"| right, % of {studies} | {head} |", "| --- |" + " ---: |" * 3]
    for count in (1, 3, 5):
        held = " | ".join(f"{100 * held_rate(seeds, count, studies):.1f}" for seeds in SEEDS)
        lines.append(f"| the interval at the best of {count} rates holds | {held} |")
    for sweep, sizes in FOUND.items():
        cells = " | ".join(
            f"{100 * found_rate(size, sweep, seeds, studies):.1f} ({size:g})"
            for seeds, size in zip(SEEDS, sizes, strict=True)
        )
        lines.append(
            f"| the better setting found at four depths (size): {_words(sweep)} | {cells} |"
        )
    return "\n".join(lines)


def _words(sweep: tuple[int, int]) -> str:
    settings, rates = sweep
    return f"{settings} settings, {rates} rate{'s'[: rates != 1]}"
