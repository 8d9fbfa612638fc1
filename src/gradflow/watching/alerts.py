"""Alerts: what a healthy training does not show, found step by step in what was measured.

A rule looks at one measured step, and an alert comes when it finds something at `persist` measured
steps in a row. How often a healthy training has an alert, and a faulty one none, is measured by
`python -m benchmarks --sections alerts`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Floats = npt.NDArray[np.float64]
Found = Mapping[str, float]
"""Place (a layer or a block) -> the value that is out of range there."""

QUIET = 10  # measured steps without a finding until a kind may alert again
EPSILON = 1e-12


class Alert(NamedTuple):
    """Something out of range.

    Attributes:
        step: at which it was seen; it had been there `persist - 1` measured steps.
        kind: the name of its rule, see `RULES`.
        place: the layer or block where it is worst, or begins.
        value, threshold: of the rule's quantity.
        text: one line in plain words.
    """

    step: int
    kind: str
    place: str
    value: float
    threshold: float
    text: str


@dataclass(frozen=True)
class Seen:
    """One measured step, null values as NaN.

    Attributes:
        present: which layers had a gradient; NaN in `gradient` says that it is not finite there.
        blocks: names of the blocks; their arrays have one more entry, of the last one's output.
        without_sum: blocks that make fewer residual sums than siblings of the same form.
    """

    step: int
    layers: list[str]
    present: npt.NDArray[np.bool_]
    gradient: Floats
    weight: Floats
    update: Floats
    blocks: list[str]
    rms: Floats
    block_gradient: Floats
    dead: Floats
    loss: float | None = None
    without_sum: Found = field(default_factory=dict)


def seen_of(
    tables: Mapping[str, pa.Table],
    step: int,
    loss: float | None = None,
    without_sum: Found | None = None,
) -> Seen:
    """What the tables of `Probes.tables` say of one step."""
    layers = tables["layers"]
    blocks, details = tables.get("blocks"), tables.get("block_details")
    gradient = layers["grad_norm"]

    def floats(table: pa.Table | None, column: str) -> Floats:
        if table is None:
            return np.zeros(0)
        values: Floats = table[column].cast(pa.float64()).to_numpy()
        return values

    return Seen(
        step,
        layers["layer_name"].to_pylist(),
        gradient.is_valid().to_numpy(),
        floats(layers, "grad_norm"),
        floats(layers, "weight_norm"),
        floats(layers, "update_norm"),
        [] if blocks is None else blocks["block_name"].to_pylist(),
        floats(blocks, "input_rms"),
        floats(blocks, "input_grad_norm"),
        floats(details, "dead_fraction"),
        loss,
        without_sum or {},
    )


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
    find: Callable[["Seen", "Past", float], Found]
    threshold: float
    persist: int
    words: str
    source: str
    scaled: int = 0


class Past:
    """What earlier steps showed: the total gradient norm of each."""

    def __init__(self) -> None:
        self.totals: list[float] = []

    def add(self, seen: Seen) -> None:
        """Remember a step."""
        total = float(np.sqrt(np.nansum(np.square(seen.gradient[seen.present]))))
        if np.isfinite(total):
            self.totals.append(total)


def _non_finite(seen: Seen, past: Past, threshold: float) -> Found:
    """The first block whose input is not finite, else the layer where the backward pass broke:
    the last one, as what comes before it in the network inherits it."""
    forward = ~np.isfinite(seen.rms[: len(seen.blocks) - 1])  # the last row is an output's
    wrong = np.flatnonzero(seen.present & ~np.isfinite(seen.gradient))
    broken = len(wrong) > 0 or (seen.loss is not None and not np.isfinite(seen.loss))
    if not broken:
        return {}
    if forward.any() and not forward.all():
        return {seen.blocks[int(forward.argmax())]: np.inf}
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


def _jump(seen: Seen, past: Past, threshold: float) -> Found:
    """The total gradient against the largest one so far."""
    if len(past.totals) < 5:
        return {}
    total = float(np.sqrt(np.nansum(np.square(seen.gradient[seen.present]))))
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


def _ratios(seen: Seen) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios: Floats = np.where(seen.weight > 0, seen.update / seen.weight, np.nan)
    return ratios


def _large_update(seen: Seen, past: Past, threshold: float) -> Found:
    ratios = _ratios(seen)
    return {seen.layers[i]: float(ratios[i]) for i in np.flatnonzero(ratios > threshold)}


def _uneven_update(seen: Seen, past: Past, threshold: float) -> Found:
    """A layer that moves much faster than the median layer."""
    ratios = _ratios(seen)
    moving = ratios[np.isfinite(ratios) & (ratios > 0)]
    if len(moving) < SHORTEST:
        return {}
    relative = ratios / np.median(moving)
    wrong = np.flatnonzero((relative > threshold) & (ratios > LEAST_UNEVEN))
    return {seen.layers[i]: float(relative[i]) for i in wrong}


LEAST_UNEVEN = 0.01  # an update ratio below this does no harm, whatever the others do


def _small_update(seen: Seen, past: Past, threshold: float) -> Found:
    """The whole network stands still."""
    ratios = _ratios(seen)
    moving = np.isfinite(ratios) & (seen.gradient > 0)
    if moving.sum() < SHORTEST or not (median := float(np.median(ratios[moving]))) < threshold:
        return {}
    return {"all layers": median}


def _stream(seen: Seen, past: Past, threshold: float) -> Found:
    """The residual stream's growth over the blocks, by the root of their number."""
    rms = seen.rms[: len(seen.blocks) - 1]
    if len(rms) < SHORTEST or not np.isfinite(rms).all() or rms.min() <= 0:
        return {}
    # A stream of unit branches grows as the square root of their number. It begins at the
    # second sum: embeddings are often drawn far smaller than what the first block adds.
    growth = rms[-1] / rms[1] / np.sqrt(len(rms))
    jump = int(np.argmax(rms[2:] / rms[1:-1])) + 1 if len(rms) > 2 else 1
    return {seen.blocks[jump]: float(growth)} if growth > threshold else {}


def _missing_skip(seen: Seen, past: Past, threshold: float) -> Found:
    return seen.without_sum


RULES = (
    Rule("non_finite", _non_finite, np.inf, 1, "not finite: it begins at {place}",
         "IEEE 754; a GradScaler skips single steps, so with one it takes 3 in a row", 3),
    Rule("exploding", _exploding, 1e3, 2,
         "the gradient grows {value:.2g} times from the last block to {place} (> {threshold:g})",
         "isometry is a ratio of 1 (Saxe et al. 2014)"),
    Rule("vanishing", _vanishing, 1e-3, 2,
         "the gradient shrinks to {value:.2g} of itself on its way to {place} (< {threshold:g})",
         "as exploding"),
    Rule("jump", _jump, 10, 1,
         "the gradient is {value:.3g} times the largest before, most in {place} (> {threshold:g})",
         "loss spikes"),
    Rule("dead", _dead, 0.99, 3, "dead: no gradient reaches {place}",
         "a unit whose gradient is exactly 0 for every example learns nothing"),
    Rule("large_update", _large_update, 0.2, 3,
         "a step moves {place} by {value:.2g} of its norm (> {threshold:g})",
         "rule of thumb: 0.001"),
    Rule("uneven_update", _uneven_update, 30, 3,
         "a step moves {place} {value:.3g} times as far as the median layer (> {threshold:g})",
         "layers of one network under one optimizer"),
    Rule("small_update", _small_update, 1e-7, 3,
         "a step moves the median layer by {value:.2g} of its norm (< {threshold:g})",
         "float32 resolves 6e-8 of a weight: smaller steps are rounded away"),
    Rule("stream", _stream, 10, 2,
         "the residual stream grows {value:.2g} times more than unit branches explain, "
         "most at {place} (> {threshold:g})",
         "branches of equal size add as the root of their number"),
    Rule("missing_skip", _missing_skip, 1, 2,
         "{place} makes {value:.0f} residual sums fewer than its siblings of the same form",
         "structure"),
)  # fmt: skip
"""Every rule. Thresholds and their false-alarm rates: docs/alerts.md."""


class Alarms:
    """Applies `RULES` to one measured step after the other.

    Args:
        scaled: a GradScaler is in use, which skips steps that are not finite.
    """

    def __init__(self, *, scaled: bool = False, rules: tuple[Rule, ...] = RULES):
        self._rules = rules
        self._scaled = scaled
        self._past = Past()
        self._streaks: dict[str, dict[str, int]] = {}
        self._quiet: dict[str, int] = {}

    def see(self, seen: Seen) -> list[Alert]:
        """The alerts of a step that comes after those seen before."""
        with np.errstate(over="ignore", invalid="ignore"):
            alerts = [a for rule in self._rules if (a := self._apply(rule, seen)) is not None]
            self._past.add(seen)
        return alerts

    def _apply(self, rule: Rule, seen: Seen) -> Alert | None:
        found = rule.find(seen, self._past, rule.threshold)
        before = self._streaks.get(rule.kind, {})
        streaks = self._streaks[rule.kind] = {p: before.get(p, 0) + 1 for p in found}
        needed = rule.scaled if self._scaled and rule.scaled else rule.persist
        ripe = [place for place in found if streaks[place] >= needed]
        quiet = self._quiet.get(rule.kind, QUIET)
        self._quiet[rule.kind] = 0 if ripe else quiet + 1
        if not ripe or quiet < QUIET:
            return None
        worst = max(ripe, key=lambda place: abs(np.log(max(found[place], EPSILON))))
        value = found[worst]
        text = rule.words.format(place=worst, value=value, threshold=rule.threshold)
        if len(ripe) > 1:
            text += f"; {len(ripe) - 1} more"
        return Alert(seen.step, rule.kind, worst, value, rule.threshold, text)
