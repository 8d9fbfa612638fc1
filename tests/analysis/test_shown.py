"""Every recorded quantity is shown in a figure or table, or is there for a stated reason."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import gradflow
from gradflow.analysis.output import Output
from gradflow.analysis.settings import config_columns
from gradflow.analysis.studies import health, updates
from gradflow.analysis.study import load_study
from gradflow.config.probes import OffConfig
from gradflow.core.errors import GradflowError
from gradflow.records import HISTOGRAM_EDGES, SCHEMAS
from gradflow.records.schema import DERIVED
from gradflow.runs.execute import execute
from tests.support.configs import small_config

SHOWING = ("analysis", "verdict", "acceptance", "runs/status.py")
KEPT = {
    ("attempts", "started"): "when an attempt began",
    ("attempts", "ended"): "with `started` the time of an attempt, also of one that failed",
    ("attempts", "traceback"): "of a failure: the report shows its last line, `error`",
    ("steps", "epoch"): "a key: places a step in the data",
    ("layers", "update_norm"): "shown divided by weight_norm, as relative_update",
    ("failed_diagnoses", "options"): "a key, as in diagnoses",
    ("failed_diagnoses", "traceback"): "of a failure: the views show its reason, `error`",
    ("diagnoses", "options"): "a key: with `name` it tells diagnoses of a run apart",
    ("paths", "samples"): "the number of paths that path_grad_norm is a mean over",
    ("lesions", "sample"): "a key: the number of a random draw",
}
"""(table, column) -> why it is recorded although no figure, table or claim shows it."""


def named():
    """The words that the sources of figures, tables and claims name as a column."""
    root = Path(gradflow.__file__).parent
    paths = [path for name in SHOWING for path in [root / name, *(root / name).rglob("*.py")]]
    source = "\n".join(path.read_text() for path in paths if path.is_file())
    return set(re.findall(r"(?<=[\"'.])\w+\b", source))


@pytest.mark.parametrize("table", SCHEMAS)
def test_every_recorded_quantity_is_shown_or_kept_for_a_reason(table):
    columns = {*SCHEMAS[table].names, *DERIVED.get(table, {})}
    if table == "runs":  # the report lists every value of the config
        columns -= set(config_columns(pd.DataFrame(columns=SCHEMAS["runs"].names)))
    kept = {column for of, column in KEPT if of == table}
    assert kept <= columns
    assert columns - named() == kept


def test_shares_by_size_by_hand():
    histogram = np.zeros(len(HISTOGRAM_EDGES) + 1)
    below_one, last = HISTOGRAM_EDGES.index(1.0), len(HISTOGRAM_EDGES)
    histogram[[0, below_one, last]] = 1, 2, 1
    frame = pd.DataFrame({"run_id": ["a", "b"], "step": 0, "layer_index": 3})
    found = health.shares_by_size(frame.assign(histogram=[histogram, None]))
    assert found.share.tolist() == [0.25, 0.5, 0.25]
    # The bin below 1 is from 10^-0.5 to 1: its middle is 10^-0.25.
    np.testing.assert_allclose(found["size"], [10**-20.25, 10**-0.25, 10**4.25])


def test_the_table_of_health_counts_states_and_worst_places():
    keys = {"depth": 8, "twin": "plain"}
    signals = pd.DataFrame({"run_id": ["a", "a", "b"], "dead_fraction": [0.1, 0.3, 0.1], **keys})
    layers = pd.DataFrame({"run_id": ["a", "b"], "zero_fraction": [0.0, 0.5], **keys})
    examples = pd.DataFrame({"example_cosine": [0.5], "signal_to_noise": [np.nan], **keys})
    states = pd.DataFrame({"grad_state": ["finite", "inf", "none", "finite"], **keys})
    row = str(health.health_table(signals, layers, examples, states)).splitlines()[2]
    assert row == "| 8 | plain | 20.0 | 25.0 | 0.500 (- ... -) | - | 2 | 1 | 0 | 1 |"


def test_what_was_not_measured_is_refused(tmp_path):
    execute(small_config(tmp_path, details=OffConfig(), steps=2, study="bare"))
    with pytest.raises(GradflowError, match="bare: holds no block_details records"):
        health.analyze(Output(load_study(tmp_path / "bare")))


def test_the_update_ratio_is_drawn_as_recorded(study_folder, tmp_path):
    copy = tmp_path / "small"
    shutil.copytree(study_folder, copy)
    output = Output(load_study(copy))
    updates.analyze(output)
    layers = output.study.records("layers", ["step", "layer_index", "relative_update"])
    first = layers[(layers.step == 0) & (layers.depth == 14) & (layers.twin == "plain")]
    points = pd.read_csv(copy / "figures" / "update_ratio_profile.csv")
    mean = points[(points.panel == "a") & (points.label == "plain")].sort_values("x").y
    expected = np.exp(np.log(first.relative_update).groupby(first.layer_index).mean())
    np.testing.assert_allclose(mean, expected, rtol=1e-5)  # float32


def test_unknown_formats_and_venues_are_refused(study_folder):
    study = load_study(study_folder)
    with pytest.raises(GradflowError, match="--format gif: choose among png, pdf, svg"):
        Output(study, ["png", "gif"])
    with pytest.raises(GradflowError, match="--style nips: choose among web, neurips"):
        Output(study, ["png"], "nips")


def test_the_spread_of_effective_rates_by_hand():
    """Two networks of three layers at two steps; an update of 0 has no ratio."""
    rows = pd.DataFrame(
        {
            "run_id": ["a"] * 6 + ["b"] * 6,
            "depth": 8, "twin": ["plain"] * 6 + ["residual"] * 6, "seed": 0,
            "step": [0, 0, 0, 10, 10, 10] * 2,
            "relative_update": [1, 10, 1000, 0.1, 0.1, 0.1, 0, 2, 20, 3, 3, 300],
        }
    )  # fmt: skip
    found = updates.spread_over_layers(rows).set_index(["run_id", "step"])
    assert found.decades.round(12).to_dict() == {
        ("a", 0): 3, ("a", 10): 0, ("b", 0): 1, ("b", 10): 2,
    }  # fmt: skip
    assert found.largest.to_dict() == {
        ("a", 0): 1000, ("a", 10): 0.1, ("b", 0): 20, ("b", 10): 300,
    }  # fmt: skip
    [line] = [x for x in str(updates.spread_table(found.reset_index())).splitlines() if "| 8" in x]
    assert line == "| 8 | 3.0 | 1.0 | 0.0 | 2.0 | 0.0 | 2.0 | 1000 | 20 |"
