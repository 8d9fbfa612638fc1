"""Alerts: what a healthy training does not show, found step by step in what was measured.

A rule looks at one measured step, and an alert comes when it finds something at `persist` measured
steps in a row. How often a healthy training has an alert, and a faulty one none, is measured by
`python -m benchmarks --sections alerts`.
"""

import re
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
        [] if blocks is None else _names(blocks),
        floats(blocks, "input_rms"),
        floats(blocks, "input_grad_norm"),
        floats(details, "dead_fraction"),
        loss,
        without_sum or {},
    )


def _names(blocks: pa.Table) -> list[str]:
    """The blocks' names; records of older versions have their numbers alone."""
    numbers = blocks["block_index"].to_pylist()
    names = blocks["block_name"].to_pylist()
    return [n or f"block {index}" for n, index in zip(names, numbers, strict=True)]


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
    """What earlier steps showed.

    Attributes:
        totals: the gradient norm over all layers of each step.
        from_zero: layers whose weight was 0 at first. Until it has a size of its own, every
            update of it is large beside it.
    """

    def __init__(self) -> None:
        self.totals: list[float] = []
        self.steps = 0
        self.from_zero: npt.NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)

    def begin(self, seen: Seen) -> None:
        """Before a step is looked at."""
        if self.steps == 0:
            self.from_zero = seen.weight == 0
        elif self.steps == YOUNG:
            self.from_zero = np.zeros_like(self.from_zero)
        self.steps += 1

    def add(self, seen: Seen) -> None:
        """Remember a step."""
        total = _total(seen)
        if np.isfinite(total):
            self.totals.append(total)


def _total(seen: Seen) -> float:
    return float(np.sqrt(np.square(seen.gradient[seen.present]).sum()))


YOUNG = 10  # measured steps in which a weight that began at 0 has no size of its own


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


FEWEST_BEFORE = 5  # measured steps, of which the largest gradient is taken


def _jump(seen: Seen, past: Past, threshold: float) -> Found:
    """The total gradient against the largest one so far."""
    if len(past.totals) < FEWEST_BEFORE:
        return {}
    total = _total(seen)
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
"""Every rule; several of one kind are one alert. docs/alerts.md is made from them."""


class Alarms:
    """Applies `RULES` to one measured step after the other.

    Args:
        scaled: a GradScaler is in use, which skips steps that are not finite.
    """

    def __init__(self, *, scaled: bool = False, rules: tuple[Rule, ...] = RULES):
        self._rules = rules
        self._scaled = scaled
        self._past = Past()
        self._streaks: list[dict[str, int]] = [{} for _ in rules]
        self._last: dict[str, int] = {}

    def see(self, seen: Seen) -> list[Alert]:
        """The alerts of a step that comes after those seen before."""
        with np.errstate(over="ignore", invalid="ignore"):
            self._past.begin(seen)
            found: dict[str, Alert | None] = {}
            for number, rule in enumerate(self._rules):
                found[rule.kind] = found.get(rule.kind) or self._apply(number, rule, seen)
            self._past.add(seen)
        return [alert for kind, alert in found.items() if alert and self._is_new(kind, alert)]

    def _apply(self, number: int, rule: Rule, seen: Seen) -> Alert | None:
        found = rule.find(seen, self._past, rule.threshold)
        before = self._streaks[number]
        streaks = self._streaks[number] = {p: before.get(p, 0) + 1 for p in found}
        needed = rule.scaled if self._scaled and rule.scaled else rule.persist
        ripe = [place for place in found if streaks[place] >= needed]
        if not ripe:
            return None
        worst = max(ripe, key=lambda place: abs(np.log(max(found[place], EPSILON))))
        value = found[worst]
        text = rule.words.format(place=worst, value=value, threshold=rule.threshold)
        if len(ripe) > 1:
            text += f"; {len(ripe) - 1} more"
        return Alert(seen.step, rule.kind, worst, value, rule.threshold, text)

    def _is_new(self, kind: str, alert: Alert) -> bool:
        """Whether the kind has not been seen for `QUIET` measured steps."""
        last = self._last.get(kind)
        self._last[kind] = self._past.steps
        return last is None or self._past.steps - last > QUIET


def reference() -> str:
    """The table of rules in docs/alerts.md."""
    lines = ["| alert | in words | lasts | threshold from |", "| --- | --- | ---: | --- |"]
    for rule in RULES:
        words = re.sub(r"\{(place|value)[^}]*\}", lambda m: NAMES[m[1]], rule.words)
        words = words.format(threshold=rule.threshold)
        lines.append(f"| `{rule.kind}` | {words} | {rule.persist} | {rule.source} |")
    return "\n".join(lines) + "\n"


NAMES = {"place": "PLACE", "value": "X"}
