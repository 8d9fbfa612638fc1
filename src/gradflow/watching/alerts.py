"""Alerts: a rule that finds something at `persist` measured steps in a row gives one."""

import re
from typing import NamedTuple

import numpy as np

from gradflow.watching.rules import EPSILON, RULES, Rule
from gradflow.watching.seen import Past, Seen

QUIET = 10  # measured steps without a finding until a kind may alert again


class Alert(NamedTuple):
    """Something out of range.

    Attributes:
        step: at which it was seen; it had been there `persist - 1` measured steps.
        kind: the name of its rule, see `gradflow.watching.rules`.
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
    """The table of rules in docs/reference/alerts.md."""
    lines = ["| alert | in words | lasts | threshold from |", "| --- | --- | ---: | --- |"]
    for rule in RULES:
        words = re.sub(r"\{(place|value)[^}]*\}", lambda m: NAMES[m[1]], rule.words)
        words = words.format(threshold=rule.threshold)
        lines.append(f"| `{rule.kind}` | {words} | {rule.persist} | {rule.source} |")
    return "\n".join(lines) + "\n"


NAMES = {"place": "PLACE", "value": "X"}
