"""Each network at its own best learning rate: chosen by others, drawn and tabled."""

import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from gradflow.analysis.studies.learning_rate import RATE, at_own_best, best_table, error_heatmap

ROOT = Path(__file__).parents[2]


@pytest.fixture
def runs():
    """Plain and residual, depth 8, three seeds, rates 0.1 and 0.2; errors by hand."""
    errors = {
        ("plain", 0.1): [10.0, 20.0, 60.0],
        ("plain", 0.2): [30.0, 30.0, 0.0],
        ("residual", 0.1): [5.0, 5.0, 5.0],
        ("residual", 0.2): [1.0, 1.0, np.nan],  # one diverged
    }
    rows = [
        {"depth": 8, "twin": twin, RATE: rate, "seed": seed, "error": error}
        for (twin, rate), three in errors.items()
        for seed, error in enumerate(three)
    ]
    return pd.DataFrame(rows)


def test_the_rate_of_a_seed_is_the_one_best_for_the_others(runs):
    best = at_own_best(runs).set_index(["twin", "seed"])
    # Plain: without seed 0 the means are 40 and 15, without 1: 35 and 15, without 2: 15 and 30.
    assert best.loc["plain"][RATE].tolist() == [0.2, 0.2, 0.1]
    assert best.loc["plain"].error.tolist() == [30, 30, 60]
    # Residual: 0.2 is better but diverged for seed 2; only seed 2 itself does not know that.
    assert best.loc["residual"][RATE].tolist() == [0.1, 0.1, 0.2]
    assert best.loc["residual"].error.isna().tolist() == [False, False, True]


def test_one_seed_chooses_for_itself(runs):
    best = at_own_best(runs[runs.seed == 2]).set_index("twin")
    assert best.loc["plain", RATE] == 0.2
    assert best.loc["residual", RATE] == 0.1


def test_the_table(runs):
    row = str(best_table(runs, at_own_best(runs))).splitlines()[2]
    # The gap is over the seeds that have both: 30 - 5 and 30 - 5.
    assert row == "| 8 | 0.2 | 40.0 | 0.1 | 5.0 | 25.0 (25.0 ... 25.0) | 2 |"


def test_the_heatmap_frames_the_best_and_names_divergence(runs):
    figure, ax = plt.subplots()
    error_heatmap(runs[runs.twin == "residual"], ax=ax)
    assert [text.get_text() for text in ax.texts] == ["5.0", "div."]
    under, frame = ax.patches  # black, and white on it
    for patch in (under, frame):
        assert np.floor(patch.get_xy()).tolist() == [0, 0]
    plt.close(figure)


def test_a_study_of_one_rate_is_refused(study_folder):
    script = ROOT / "analysis" / "learning_rate.py"
    done = subprocess.run(
        [sys.executable, str(script), str(study_folder)], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {study_folder}: has one learning rate;")
