"""Rules of alerts: what a healthy training does not show, as functions of a step and as data.

How often a healthy training breaks one, and a faulty one none, is measured by
`python -m benchmarks --sections alerts`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gradflow.watching.seen import Floats, Found, Past, Seen, total_of

EPSILON = 1e-12


@dataclass(frozen=True)
class Rule:
    """What an alert is about.

    Attributes:
        find: a step, and the steps before it, to the places out of range.
        persist: measured steps in a row until it alerts; with a GradScaler `scaled` of them.
        words: of the alert's text, with {place}, {value} and {threshold}.
        source: why this threshold.
    """

    kind: str
    find: Callable[[Seen, Past, float], Found]
    threshold: float
    persist: int
    words: str
    source: str
    scaled: int = 0


def _non_finite(seen: Seen, past: Past, threshold: float) -> Found:
    """The block that makes the first input that is not finite, else the layer where the backward
    pass broke: the last one, as what comes before it in the network inherits it."""
    forward = ~np.isfinite(seen.rms[: len(seen.blocks) - 1])  # the last row is an output's
    wrong = np.flatnonzero(seen.present & ~np.isfinite(seen.gradient))
    broken = len(wrong) > 0 or (seen.loss is not None and not np.isfinite(seen.loss))
    if not broken:
        return {}
    if forward.any() and not forward.all():
        return {seen.blocks[max(int(forward.argmax()) - 1, 0)]: np.inf}
    return {seen.layers[int(wrong[-1])] if len(wrong) else "the loss": np.inf}


def _profile(seen: Seen) -> tuple[str, str, float] | None:
    """First and last place, and the gradient at the first over that at the last."""
    there = np.isfinite(seen.block_gradient) & (seen.block_gradient > 0)
    if len(seen.blocks) >= SHORTEST and there[0] and there[-1]:
        ratio = seen.block_gradient[0] / seen.block_gradient[-1]
        return seen.blocks[0], seen.blocks[-1].removeprefix("end of "), float(ratio)
    if seen.blocks or len(seen.layers) < SHORTEST:
        return None
    places = np.flatnonzero(seen.present & np.isfinite(seen.gradient) & (seen.gradient > 0))
    if len(places) < SHORTEST:
        return None
    quarter = len(places) // 4
    first, last = (np.median(seen.gradient[p]) for p in (places[:quarter], places[-quarter:]))
    return seen.layers[places[0]], seen.layers[places[-1]], float(first / last)


SHORTEST = 4  # blocks, or layers, of a network that has a depth along which to vanish


def _vanishing(seen: Seen, past: Past, threshold: float) -> Found:
    profile = _profile(seen)
    return {profile[0]: profile[2]} if profile and profile[2] < threshold else {}


def _exploding(seen: Seen, past: Past, threshold: float) -> Found:
    profile = _profile(seen)
    return {profile[0]: profile[2]} if profile and profile[2] > threshold else {}


FEWEST_BEFORE = 5  # measured steps, of which the largest gradient is taken


def _jump(seen: Seen, past: Past, threshold: float) -> Found:
    """The total gradient against the largest one so far."""
    if len(past.totals) < FEWEST_BEFORE:
        return {}
    total = total_of(seen)
    ratio = total / max(max(past.totals), EPSILON)
    if not ratio > threshold:
        return {}
    return {seen.layers[int(np.nanargmax(np.where(seen.present, seen.gradient, 0)))]: ratio}


def _dead(seen: Seen, past: Past, threshold: float) -> Found:
    """Layers whose gradient is exactly 0 while others' is not, blocks whose ReLUs all are 0."""
    zero = seen.present & (seen.gradient == 0)
    found = {}
    if zero.any():
        found = {seen.layers[i]: 1.0 for i in np.flatnonzero(zero)}
    for name, share in zip(seen.blocks, seen.dead, strict=False):
        if share >= threshold:
            found[name] = float(share)
    return found


def _ratios(seen: Seen, past: Past) -> Floats:
    """Update-to-weight ratios; NaN of weights that are, or began as, 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios: Floats = np.where(
            (seen.weight > 0) & ~past.from_zero, seen.update / seen.weight, np.nan
        )
    return ratios


def _large_update(seen: Seen, past: Past, threshold: float) -> Found:
    ratios = _ratios(seen, past)
    return {seen.layers[i]: float(ratios[i]) for i in np.flatnonzero(ratios > threshold)}


def _relative(seen: Seen, past: Past) -> Floats:
    """Update-to-weight ratio of a layer by the median of its like; NaN if there are few.

    Alike are layers whose names differ in numbers alone: blocks.0.qkv and blocks.1.qkv. Others
    of one network differ by hundreds: under SGD the queries of a small GPT move 200 times less
    than the projections beside them.
    """
    ratios = _ratios(seen, past)
    relative = np.full(len(ratios), np.nan)
    names = np.array([NUMBER.sub("*", name) for name in seen.layers])
    for name in set(names):
        group = (names == name) & np.isfinite(ratios)
        moving = ratios[group & (ratios > 0) & (seen.gradient > 0)]
        if len(moving) >= SHORTEST:
            relative[group] = ratios[group] / np.median(moving)
    return relative


NUMBER = re.compile(r"\d+")


def _fast_layer(seen: Seen, past: Past, threshold: float) -> Found:
    relative = _relative(seen, past)
    return {seen.layers[i]: float(relative[i]) for i in np.flatnonzero(relative > threshold)}


def _slow_layer(seen: Seen, past: Past, threshold: float) -> Found:
    relative = _relative(seen, past)
    wrong = np.flatnonzero((relative < threshold) & (seen.gradient > 0))
    return {seen.layers[i]: float(relative[i]) for i in wrong}


def _small_update(seen: Seen, past: Past, threshold: float) -> Found:
    """The whole network stands still."""
    ratios = _ratios(seen, past)
    moving = np.isfinite(ratios) & (seen.gradient > 0)
    if moving.sum() < SHORTEST or not (median := float(np.median(ratios[moving]))) < threshold:
        return {}
    return {"all layers": median}


def _stream(seen: Seen, past: Past, threshold: float) -> Found:
    """The residual stream's growth over the blocks, by the root of their number."""
    rms = seen.rms[: len(seen.blocks) - 1]
    if len(rms) < SHORTEST or not np.isfinite(rms).all() or rms.min() <= 0:
        return {}
    # A stream of equal branches grows as the square root of their number. It is compared with a
    # quarter of the depth: embeddings are often drawn far smaller than what first blocks add.
    start = max(1, len(rms) // 4)
    growth = rms[-1] / rms[start] / np.sqrt(len(rms) / start)
    jump = int(np.argmax(rms[start + 1 :] / rms[start:-1])) + start
    return {seen.blocks[jump]: float(growth)} if growth > threshold else {}


def _missing_skip(seen: Seen, past: Past, threshold: float) -> Found:
    return seen.without_sum


RULES = (
    Rule("non_finite", _non_finite, np.inf, 1, "not finite: it begins at {place}",
         "IEEE 754; a GradScaler skips such steps to find its scale, so with one it takes 3",
         scaled=3),
    Rule("exploding", _exploding, 1e3, 1,
         "the gradient grows {value:.2g} times from the last block to {place} (> {threshold:g})",
         "1 is isometry (Saxe et al. 2014); 1e3 was chosen on the healthy trainings: at most 60"),
    Rule("vanishing", _vanishing, 1e-3, 1,
         "the gradient shrinks to {value:.2g} of itself on its way to {place} (< {threshold:g})",
         "as exploding; healthy trainings: at least 0.4"),
    Rule("jump", _jump, 10, 1,
         "the gradient is {value:.3g} times the largest before, most in {place} (> {threshold:g})",
         "chosen on the healthy trainings: at most 2"),
    Rule("dead", _dead, 0.99, 3, "dead: no gradient reaches {place}",
         "what is exactly 0 for every example learns nothing; weights that begin at 0 pass it on "
         "after a step or two"),
    Rule("large_update", _large_update, 1.0, 1,
         "a step moves {place} by {value:.2g} of its norm (> {threshold:g})",
         "a step that replaces the weight; the rule of thumb is 0.001 (Karpathy, CS231n)"),
    Rule("large_update", _large_update, 0.25, 2,
         "steps move {place} by {value:.2g} of its norm (> {threshold:g})",
         "chosen on the healthy trainings: at most 0.18 at two measured steps in a row"),
    Rule("fast_layer", _fast_layer, 40, 1,
         "a step moves {place} {value:.3g} times as far as its like in other blocks "
         "(> {threshold:g})",
         "chosen on the healthy trainings: at most 16 beside any layers of its kind"),
    Rule("slow_layer", _slow_layer, 0.02, 3,
         "steps move {place} {value:.2g} times as far as its like in other blocks "
         "(< {threshold:g})",
         "chosen on the healthy trainings: at least 0.2"),
    Rule("small_update", _small_update, 1e-7, 3,
         "a step moves the median layer by {value:.2g} of its norm (< {threshold:g})",
         "float32 resolves 6e-8 of a weight: smaller steps are rounded away"),
    Rule("stream", _stream, 10, 1,
         "the residual stream grows {value:.2g} times more than equal branches explain, most at "
         "{place} (> {threshold:g})",
         "equal branches add as the root of their number; language models grow up to 1.05 times "
         "per block (Heimersheim and Turner 2023), 10 times over 48"),
    Rule("missing_skip", _missing_skip, 0, 2,
         "{place} makes {value:.0f} residual sums fewer than its siblings of the same form",
         "by structure; twice, as a block may be left out at random"),
)  # fmt: skip
"""Every rule; several of one kind are one alert. docs/reference/alerts.md is made from them."""
