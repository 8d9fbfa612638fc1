"""How often does a 95 % interval hold the true mean? Student's t, its logit form, bootstraps.

python -m benchmarks.intervals

Of simulated samples of 3 to 30 values whose mean is known: coverage, and the median width as a
multiple of Student's. Why `gradflow.statistics` has the t interval at every number of seeds, and
its logit form for values with a range; tests hold a shorter form.
"""

import argparse
import warnings
from collections.abc import Callable
from typing import Literal

import numpy as np
import scipy.stats

from gradflow.statistics import interval_ends
from gradflow.verdict.outcome import Floats

SIZES = (3, 5, 8, 10, 16, 30)
SHARE = (0.0, 1.0)
RESAMPLES = 999
AT_ONCE = 500  # samples that are resampled together: bounds the memory

Draw = Callable[[np.random.Generator, tuple[int, int]], Floats]
Ends = tuple[Floats, Floats]


def all_or_nothing(share: float) -> Draw:
    """So many of the networks learn nothing, 90 % error; the others have up to a few points."""

    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
        return np.where(rng.random(shape) < share, 0.9, 0.0) + 0.02 * rng.random(shape)

    return draw


UNBOUNDED: dict[str, tuple[Draw, float]] = {
    "Gaussian": (lambda rng, shape: rng.standard_normal(shape), 0.0),
    "heavy-tailed, t(3)": (lambda rng, shape: rng.standard_t(3, shape), 0.0),
    "exponential": (lambda rng, shape: rng.exponential(size=shape), 1.0),
    "log-normal": (lambda rng, shape: rng.lognormal(size=shape), float(np.exp(0.5))),
}
SHARES: dict[str, tuple[Draw, float]] = {
    "low errors, beta(1, 19)": (lambda rng, shape: rng.beta(1, 19, shape), 0.05),
    "middling errors, beta(2, 2)": (lambda rng, shape: rng.beta(2, 2, shape), 0.5),
    "half learn nothing": (all_or_nothing(0.5), 0.46),
    "one in four learns nothing": (all_or_nothing(0.25), 0.235),
}
"""Name -> samples (m, n), and their true mean."""


def student(samples: Floats) -> Ends:
    """Student's t interval."""
    return interval_ends(samples)


def logit(samples: Floats) -> Ends:
    """Its logit form for shares."""
    return interval_ends(samples, within=SHARE)


def bootstrap(method: Literal["BCa", "percentile"]) -> Callable[[Floats], Ends]:
    """scipy's bootstrap: "BCa" or "percentile"."""

    def ends(samples: Floats) -> Ends:
        parts = [
            scipy.stats.bootstrap(
                (part,), np.mean, axis=1, n_resamples=RESAMPLES, method=method,
                rng=np.random.default_rng(0),
            ).confidence_interval
            for part in np.array_split(samples, max(len(samples) // AT_ONCE, 1))
        ]  # fmt: skip
        return np.concatenate([p.low for p in parts]), np.concatenate([p.high for p in parts])

    return ends


def studentized(samples: Floats) -> Ends:
    """Bootstrap-t (Efron and Tibshirani 1993, section 12.5): quantiles of the resamples' own t."""
    n = samples.shape[1]
    share = np.random.default_rng(n).multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n
    mean, spread = samples.mean(axis=1, keepdims=True), samples.std(axis=1)
    means = samples @ share.T
    spreads = np.sqrt(np.maximum(samples**2 @ share.T - means**2, 1e-12))
    low, high = np.quantile((means - mean) / spreads, [0.025, 0.975], axis=1)
    return mean[:, 0] - high * spread, mean[:, 0] - low * spread


METHODS: dict[str, Callable[[Floats], Ends]] = {
    "t": student,
    "logit t": logit,
    "BCa": bootstrap("BCa"),
    "percentile": bootstrap("percentile"),
    "bootstrap-t": studentized,
}


def coverage(method: str, draw: Draw, mean: float, n: int, samples: int) -> tuple[float, float]:
    """The share of samples whose interval holds the mean, and the median width."""
    values = draw(np.random.default_rng([n, samples]), (samples, n))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # equal values have no bootstrap: such a sample misses
        low, high = METHODS[method](values)
    return float(((low <= mean) & (mean <= high)).mean()), float(np.nanmedian(high - low))


def tables(samples: int) -> str:
    """Coverage in percent, and in brackets the median width over that of t, as Markdown."""
    head = " | ".join(f"n = {n}" for n in SIZES)
    lines = [f"| of {samples} samples, % | {head} |", "| --- |" + " ---: |" * len(SIZES)]
    for group, methods in ((UNBOUNDED, [m for m in METHODS if m != "logit t"]), (SHARES, METHODS)):
        for name, (draw, mean) in group.items():
            widths = [coverage("t", draw, mean, n, samples)[1] for n in SIZES]
            for method in methods:
                found = [coverage(method, draw, mean, n, samples) for n in SIZES]
                cells = " | ".join(
                    f"{100 * held:.1f} ({width / of_t:.2g})"
                    for (held, width), of_t in zip(found, widths, strict=True)
                )
                lines.append(f"| {name}: {method} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=4000)
    print(tables(parser.parse_args().samples))


if __name__ == "__main__":
    main()
