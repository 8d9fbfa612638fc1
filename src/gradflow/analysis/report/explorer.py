"""The gradient's norm along a network's depth, packed for the page's plot.

A profile is of the runs that differ in their seed alone: by layer, the median over seeds
and the lowest and highest seed.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from gradflow.analysis.frames import groups
from gradflow.analysis.settings import codes, config_columns, key_of, levels, value_text
from gradflow.analysis.study import Study
from gradflow.core.errors import GradflowError
from gradflow.records import read_means

NORM = "Norm of the loss gradient along a network's depth."
MANY = f"{NORM} Lines: median over seeds; bands: from the lowest to the highest seed. Gaps: it is \
exactly 0 or not finite."
ONE = f"{NORM} Gaps: it is exactly 0, not finite or not there."
CELLS = 15_000  # layers x steps per kind: 3 x 4 bytes each in base64 make 0.24 MB
FIRST = ("network_name", "network_depth", "network_norm")  # controls that come before others


@dataclass(frozen=True)
class Kind:
    """A table with gradient norms along depth: its columns and how the page calls them."""

    table: str
    index: str
    value: str
    label: str
    axis: str


KINDS = (
    Kind("layers", "layer_index", "grad_norm", "each layer's weight", "layer (0: stem)"),
    Kind("blocks", "block_index", "input_grad_norm", "each block's input", "block (0: first)"),
)


def explorer(
    study: Study, names: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Any] | None:
    """The data of the page's explorer, ready for JSON; None if no gradient was recorded.

    controls: key, label and levels of each setting that tells networks apart, skip left out;
    kinds: their name, label, axis and steps; profiles: kind, twin, `at` (an index per
    control), `range` (log10 of the lowest and highest number at any step), and by step
    [median, lowest, highest], little-endian float32 in base64, NaN for 0 and what is not finite.
    caption: what the plot shows.

    Args:
        names: of one watched network, kind -> the name of each place along its depth.
    """
    controls = controls_of(study.runs)
    kinds, profiles = [], []
    for kind in KINDS:
        try:
            rows = _rows(study, kind)
        except GradflowError:  # not recorded
            continue
        if rows.empty:
            continue
        facts: dict[str, Any] = {"name": kind.table, "label": kind.label, "axis": kind.axis}
        if names and kind.table in names:
            facts |= {"names": list(names[kind.table]), "axis": kind.axis.split(" (")[0]}
        kinds.append(facts | {"steps": sorted(int(step) for step in rows.step.unique())})
        profiles += _profiles(rows, kind, study.runs, controls)
    if not profiles:
        return None
    return {
        "kinds": kinds,
        "controls": [
            {
                "key": name,
                "label": key_of(name).split(".")[-1].replace("_", " "),
                "levels": [value_text(v) for v in levels(study.runs[name])],
            }
            for name in controls
        ],
        "profiles": profiles,
        "caption": ONE if names else MANY,
    }


def controls_of(runs: pd.DataFrame) -> list[str]:
    """The fewest columns that tell networks apart, without skip and seed.

    A column that the ones before it determine (a network's family determines many of its
    options) needs no control.
    """
    names = [n for n in config_columns(runs) if n not in ("seed", "network_skip")]
    chosen = ["network_skip"]
    for name in sorted(names, key=lambda n: FIRST.index(n) if n in FIRST else len(FIRST)):
        distinct = runs.groupby([*chosen, name], dropna=False).ngroups
        if distinct > runs.groupby(chosen, dropna=False).ngroups:
            chosen.append(name)
    return chosen[1:]


def _rows(study: Study, kind: Kind) -> pd.DataFrame:
    """The records of evenly spread steps, first and last included, as many as `CELLS` allows."""
    runs = list(study.runs.run_id)
    counts = read_means(study.folder, kind.table, kind.value, ["step"], runs).sort_values("step")
    seeds = study.runs.groupby(["twin", *controls_of(study.runs)], dropna=False).seed.nunique()
    room = max(2, int(CELLS * seeds.mean() / counts["count"].max())) if len(counts) else 2
    places = np.linspace(0, len(counts) - 1, min(room, len(counts))).round().astype(int)
    steps = [int(step) for step in counts.step.iloc[places]]
    return study.records(kind.table, ["step", kind.index, kind.value], step=steps)


def _profiles(
    rows: pd.DataFrame, kind: Kind, runs: pd.DataFrame, controls: Sequence[str]
) -> list[dict[str, Any]]:
    places = pd.DataFrame({"run_id": runs.run_id} | {name: codes(runs[name]) for name in controls})
    values = rows[kind.value].to_numpy(dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(np.isfinite(values) & (values > 0), np.log10(values), np.nan)
    keys = [*controls, "twin"]
    merged = rows.assign(log=logs).merge(places, on="run_id")
    grouped = merged.groupby([*keys, "step", kind.index]).log.agg(["median", "min", "max"])
    found = []
    for key, profile in groups(grouped.reset_index(), keys):
        lowest, highest = profile["min"].min(), profile["max"].max()
        if np.isnan(lowest):
            continue
        *at, twin = key
        found.append(
            {
                "kind": kind.table,
                "twin": twin,
                "at": [int(place) for place in at],
                "range": [round(float(lowest), 3), round(float(highest), 3)],
                "steps": {
                    str(step): [
                        _packed(part, kind.index, name) for name in ("median", "min", "max")
                    ]
                    for step, part in profile.groupby("step")
                },
            }
        )
    return found


def _packed(part: pd.DataFrame, index: str, name: str) -> str:
    line = np.full(int(part[index].max()) + 1, np.nan, dtype="<f4")
    line[part[index]] = 10.0 ** part[name]
    return base64.b64encode(line.tobytes()).decode()
