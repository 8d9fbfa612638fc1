"""How often is the verdict wrong? Simulated studies whose truth is known, judged like real ones.

python -m benchmarks.verdict

A study has depths 8, 20, 32, 56, 110 and 3, 5 or 10 seeds; the error unit is one study, or one
sweep of several settings. It stands
with the benchmarks because it measures what the verdict is worth; tests hold a shorter form.
"""

import argparse

import numpy as np
import numpy.typing as npt

from benchmarks import null_sweeps
from benchmarks.noise import NOISE, POINT, Noise, failing, gaussian, rounded
from gradflow.verdict.outcome import DEGRADATION, NO_DIFFERENCE, OVERFITTING, Errors, judge
from gradflow.verdict.tuning import DOES_NOT, REMOVES, tune

DEPTHS = 5
SEEDS = (3, 5, 10)
LIMIT = null_sweeps.LIMIT


NULLS = {
    "nothing differs": (0.0, 0.0),
    "only the twins differ": (0.3, 0.0),
    "both rise with depth": (0.0, 0.1),
}
"""Added to the plain networks' errors at every depth; added to both twins', per step of depth."""


CHANCE: dict[str, tuple[float | list[float], float | list[float]]] = {
    "plain half, twins never": (0.5, 0.0),
    "plain one in three, twins never": (1 / 3, 0.0),
    "plain two in three, twins never": (2 / 3, 0.0),
    "plain half, twins one in ten": (0.5, 0.1),
    "plain half, twins one in three": (0.5, 1 / 3),
    "both half, beyond depth 8": ([0, 0.5, 0.5, 0.5, 0.5], [0, 0.5, 0.5, 0.5, 0.5]),
    "both more often with depth": ([0, 0.25, 0.5, 0.75, 1], [0, 0.25, 0.5, 0.75, 1]),
}
"""Shares of plain networks and of twins that learn nothing, of all depths or by depth: there
is no degradation if plain networks fail alike at all depths, or no more often than twins."""


def null_studies(
    rng: np.random.Generator, noise: Noise, null: str, seeds: int, studies: int
) -> Errors:
    """Studies in which training error either does not rise with depth or not only without skips."""
    gap, rise = NULLS[null]
    shape = (studies, DEPTHS, seeds)
    by_depth = rise * np.arange(DEPTHS)[:, None]
    # A seed's images come in one order for all networks: a part of their errors is common.
    common = POINT * rng.standard_normal((studies, 1, seeds)) if noise is gaussian else 0.0
    plain, residual = (noise(rng, shape) + by_depth + common for _ in range(2))
    return Errors(rounded(plain + gap), rounded(residual))


def planted_studies(
    rng: np.random.Generator, truth: str, size: float, seeds: int, studies: int
) -> tuple[Errors, Errors]:
    """Training and test errors of studies with an effect at each depth but the shallowest.

    size: for degradation and overfitting, by how much the plain networks' error rises per step
    of depth (or only at the last), in standard deviations of a paired difference (1 point);
    for no difference, those standard deviations, in points.
    """
    shape = (studies, DEPTHS, seeds)
    deviation = POINT * (size if truth == NO_DIFFERENCE else 1.0) / np.sqrt(2)
    rises = POINT * size * np.arange(DEPTHS)[:, None]
    train = [0.2 + deviation * rng.standard_normal(shape) for _ in range(2)]
    test = [0.3 + deviation * rng.standard_normal(shape) for _ in range(2)]
    if truth == OVERFITTING:
        train = [np.zeros(shape), np.zeros(shape)]
        test[0] += rises
    elif truth == DEEPEST:
        train[0][:, -1] += size * POINT
    elif truth == DEGRADATION:
        train[0] += rises
        test[0] += rises
    return Errors(*map(rounded, train)), Errors(*map(rounded, test))


def false_rate(noise: str, null: str, seeds: int, studies: int) -> float:
    """The share of null studies with degradation at any depth."""
    rng = np.random.default_rng([seeds, *noise.encode(), *null.encode()])
    errors = null_studies(rng, NOISE[noise], null, seeds, studies)
    return float((judge(errors, errors).word == DEGRADATION).any(axis=-1).mean())


def chance_rate(name: str, seeds: int, studies: int) -> float:
    """The share of studies with degradation at any depth, if networks fail by chance."""
    rng = np.random.default_rng([seeds, *name.encode()])
    shape = (studies, DEPTHS, seeds)
    errors = Errors(*(rounded(failing(share)(rng, shape)) for share in CHANCE[name]))
    return float((judge(errors, errors).word == DEGRADATION).any(axis=-1).mean())


def missed_rate(seeds: int, studies: int) -> float:
    """The share of depths called "no difference" whose plain networks are just a point worse."""
    rng = np.random.default_rng(seeds)
    shape = (studies, DEPTHS, seeds)
    plain, residual = (0.2 + POINT / 10 * rng.standard_normal(shape) for _ in range(2))
    errors = Errors(plain + POINT, residual)
    return float((judge(errors, errors).word == NO_DIFFERENCE).mean())


def right_rate(truth: str, size: float, seeds: int, studies: int) -> float:
    """The share of planted studies in which every depth with an effect is named right."""
    rng = np.random.default_rng([seeds, *truth.encode(), round(100 * size)])
    word = judge(*planted_studies(rng, truth, size, seeds, studies)).word
    if truth == DEEPEST:
        right = (word == DEGRADATION) == (np.arange(DEPTHS) == DEPTHS - 1)
        return float(right.all(axis=-1).mean())
    return float((word[:, 1:] == truth).all(axis=-1).mean())


DEEPEST = f"{DEGRADATION} of the deepest only"
PLANTED = {
    DEGRADATION: (5.0, 2.5, 1.5),
    DEEPEST: (9.0, 3.5, 2.0),
    OVERFITTING: (5.0, 2.5, 1.5),
    NO_DIFFERENCE: (0.15, 0.3, 0.55),
}
"""What is named right in 95 % of studies of 3, 5, 10 seeds: truth -> size, `planted_studies`."""


def tuning_rate(null: str, word: str, seeds: int, studies: int) -> float:
    """The share of sweeps of three rates in which tuning says `word` of any depth, or, if
    the word is true, of every depth but the shallowest."""
    rng = np.random.default_rng([seeds, *null.encode()])
    shape = (studies, 3, DEPTHS, seeds)
    scale = 0.05 * POINT
    plain, residual = (scale * np.abs(rng.standard_normal(shape)) for _ in range(2))
    rises = np.arange(DEPTHS)[:, None] * 10 * POINT
    added: dict[str, npt.NDArray[np.floating] | float] = {
        "no rate": rises,
        "one rate": rises,
        "all but": POINT,
    }
    plain += added[null[:8].strip()]
    if null.startswith("one rate"):
        plain[:, 2] -= rises
    if null.startswith("all but"):
        plain[:, 1] += rises
    sweep = Errors(rounded(plain), rounded(residual))
    at_judged = Errors(sweep.plain[:, 1], sweep.residual[:, 1])
    found = tune(judge(at_judged, at_judged).word, sweep, judged=1).word == word
    true = (null, word) in TUNING_RIGHT
    return float((found[:, 1:].all(axis=-1) if true else found.any(axis=-1)).mean())


TUNING_RIGHT = [("no rate removes it", DOES_NOT), ("one rate removes it", REMOVES)]
TUNING_WRONG = [
    ("no rate removes it", REMOVES),
    ("one rate removes it", DOES_NOT),
    ("all but a point removed", REMOVES),
]


def tables(studies: int) -> str:
    """Errors and power as Markdown."""
    head = " | ".join(f"{seeds} seeds" for seeds in SEEDS)
    lines = [f"| false degradation, % of {studies} studies | {head} |", "| --- |" + " ---: |" * 3]
    for noise in NOISE:
        for null in NULLS:
            rates = (100 * false_rate(noise, null, seeds, studies) for seeds in SEEDS)
            lines.append(f"| {noise}; {null} | {' | '.join(f'{rate:.1f}' for rate in rates)} |")
    for name in CHANCE:
        rates = (100 * chance_rate(name, seeds, studies) for seeds in SEEDS)
        lines.append(f"| fail by chance: {name} | {' | '.join(f'{rate:.1f}' for rate in rates)} |")
    for truth, word in TUNING_WRONG:
        rates = (100 * tuning_rate(truth, word, seeds, studies) for seeds in SEEDS)
        cells = " | ".join(f"{rate:.1f}" for rate in rates)
        lines.append(f"| {truth}, but tuning says: {word} | {cells} |")
    cells = " | ".join(f"{100 * missed_rate(seeds, studies):.1f}" for seeds in SEEDS)
    lines.append(f"| truly a point worse, but no difference (% of depths) | {cells} |")
    lines += ["", f"| named right, % of {studies} studies | {head} |", "| --- |" + " ---: |" * 3]
    for truth, sizes in PLANTED.items():
        pairs = zip(SEEDS, sizes, strict=True)
        cells = " | ".join(
            f"{100 * right_rate(truth, size, seeds, studies):.1f} ({size:g})"
            for seeds, size in pairs
        )
        lines.append(f"| {truth} (size) | {cells} |")
    for truth, word in TUNING_RIGHT:
        rates = (100 * tuning_rate(truth, word, seeds, studies) for seeds in SEEDS)
        lines.append(f"| {truth}: {word} | {' | '.join(f'{rate:.1f}' for rate in rates)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables of simulated studies."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=1000)
    studies = parser.parse_args().studies
    print(tables(studies))
    print()
    print(null_sweeps.tables(studies))


if __name__ == "__main__":
    main()
