"""What a study's page says first: one sentence with the numbers, and its main figure."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from gradflow.analysis.frames import groups
from gradflow.analysis.make import made_before
from gradflow.analysis.settings import key_of, value_text
from gradflow.analysis.swept import swept_keys
from gradflow.analysis.task_words import error_name
from gradflow.config.run_id import TWINS
from gradflow.verdict import RATE

PLAIN, RESIDUAL = TWINS[False], TWINS[True]


def answer(runs: pd.DataFrame, verdict: str) -> str:
    """Errors of the deepest twins, in words; across settings, where their gap is largest.

    Args:
        runs: the runs table of the whole study.
        verdict: the outcome's words with their depths; empty if there are none.
    """
    if runs.empty:
        return "No run has ended yet."
    runs = runs.assign(twin=runs.network_skip.map(TWINS), error=100 * runs.final_train_error)
    if runs.error.isna().all():
        return f"Every one of the {len(runs)} runs diverged: there is no error to compare."
    keys = swept_keys(runs)
    words = [_across(runs, keys) if keys else _deepest(runs)]
    if verdict:
        words.append(f"Verdict: {verdict}.")
    if RATE in runs.columns and runs[RATE].nunique() == 1 and not keys:
        words.append(f"One learning rate was tried, {value_text(runs[RATE].iloc[0])}.")
    return " ".join(words)


def _deepest(runs: pd.DataFrame) -> str:
    """Of one setting: the errors at the deepest networks that both twins have, or one of them."""
    what = error_name(runs).removesuffix(" (%)")
    both = runs.groupby("network_depth").twin.nunique() == 2
    depth = int(both[both].index.max()) if both.any() else int(runs.network_depth.max())
    here = runs[runs.network_depth == depth]
    twins = {twin: here[here.twin == twin].error for twin in (PLAIN, RESIDUAL)}
    ended = [f"{t} networks end at {spread(e)}" for t, e in twins.items() if e.notna().any()]
    lost = [
        f"all {len(e)} {t} networks diverged" for t, e in twins.items() if len(e) and e.isna().all()
    ]
    parts = [f"{', '.join(ended)} {what}", *lost] if ended else lost
    return f"At depth {depth}, {'; '.join(parts)}."


def _across(runs: pd.DataFrame, keys: list[str]) -> str:
    """Of several settings: where the twins differ most and least, or the lowest error of all."""
    found = []
    for values, group in groups(runs, [*keys, "network_depth"]):
        medians = group.groupby("twin").error.median()
        if medians.notna().sum() == 2:
            found.append((float(medians[PLAIN] - medians[RESIDUAL]), values, group))
    lost = sum(
        bool(group.groupby("twin").error.count().eq(0).any())
        for _, group in groups(runs, [*keys, "network_depth"])
    )
    if not found:
        best = runs.sort_values("error").iloc[0]
        return (
            f"Of {len(runs)} runs, the lowest {error_name(runs).removesuffix(' (%)')} is "
            f"{best.error:.1f} % ({_named(keys, [best[key] for key in keys])}, depth "
            f"{best.network_depth})."
        )
    found.sort(key=lambda entry: entry[0])
    (least, small, _), (_, large, group) = found[0], found[-1]
    values = [spread(group[group.twin == twin].error) for twin in (PLAIN, RESIDUAL)]
    what = error_name(runs).removesuffix(" (%)")
    sentence = (
        f"The gap between plain and residual networks is largest with {_named(keys, large[:-1])} "
        f"at depth {large[-1]}: plain {values[0]}, residual {values[1]} {what}"
    )
    if len(found) > 1:
        sentence += (
            f"; it is smallest, {least:.1f} points, with {_named(keys, small[:-1])} at depth "
            f"{small[-1]}"
        )
    if lost:
        sentence += f"; in {lost} of {len(found) + lost} settings every run of a twin diverged"
    return f"{sentence}."


def spread(errors: "pd.Series[float]") -> str:
    """Median and range over seeds: "88.9 % (88.7 to 89.0, 3 seeds)"; diverged runs are named."""
    known = errors.dropna()
    lost = f"{len(errors) - len(known)} of {len(errors)} diverged"
    if known.empty:
        return f"no error ({lost})"
    middle = f"{known.median():.1f} %"
    if len(errors) == 1:
        return f"{middle} (one seed)"
    ends = f"{known.min():.1f} to {known.max():.1f}, {len(errors)} seeds"
    return f"{middle} ({ends}{'' if len(known) == len(errors) else f', {lost}'})"


def _named(keys: list[str], values: list[object]) -> str:
    found = [value.item() if isinstance(value, np.generic) else value for value in values]
    pairs = zip(keys, found, strict=True)
    return ", ".join(f"{key_of(key)}={value_text(value)}" for key, value in pairs)


def figure_order(folder: Path, scripts: Sequence[str]) -> list[str]:
    """Names of a study's figures in order of importance: as it lists its scripts, and each of
    them draws. Figures that `make` does not know are left out."""
    known = made_before(folder)
    place = {script: number for number, script in enumerate(scripts)}
    made = sorted(known, key=lambda key: place.get(key.split(" ")[0].split("--")[0], len(place)))
    paths = [Path(file) for key in made for file in known[key]["files"]]
    names = list(dict.fromkeys(path.stem for path in paths if path.parent.name == "figures"))
    return sorted(names, key=lambda name: "--" in name)  # what shows all settings first
