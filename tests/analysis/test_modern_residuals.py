"""The study of residual designs: what each run is called, and where its numbers come from."""

import numpy as np
import pandas as pd
import pytest

from gradflow.analysis.studies import modern_residuals as study

BASE = {
    "network_placement": "pre_norm",
    "network_norm": "layer",
    "network_qk_norm": False,
    "network_connection": "residual",
}


@pytest.mark.parametrize(
    ("differs", "name"),
    [
        ({}, "pre-norm"),
        ({"network_placement": "deep_norm"}, "DeepNorm"),
        ({"network_norm": "dyt"}, "DyT"),
        ({"network_qk_norm": True}, "QK-norm"),
        ({"network_connection": "manifold_hyper"}, "mHC"),
        # Of runs before there were these options.
        ({"network_qk_norm": None, "network_connection": None}, "pre-norm"),
        ({"network_norm": "rms"}, None),
        ({"network_placement": "mine"}, None),
        ({"network_placement": "sandwich", "network_connection": "hyper"}, None),
    ],
)
def test_a_run_is_called_by_what_it_differs_in(differs, name):
    runs = pd.DataFrame([BASE | differs], dtype=object)
    assert study.names(runs).tolist() == [name]


def test_every_design_has_a_look_of_its_own():
    assert set(study.LOOKS) == set(study.NAMES.values())
    looks = [(look["color"], look["marker"]) for look in study.LOOKS.values()]
    shown = [NAME for designs in study.FAMILIES.values() for NAME in designs]
    assert len(set(shown)) == len(study.NAMES) == len(looks)
    for designs in study.FAMILIES.values():
        colors = [study.LOOKS[study.NAMES[design]]["color"] for design in designs]
        assert len(set(colors)) == len(colors)


def test_the_table_by_hand():
    """Two seeds per twin of one design and depth; three blocks and the end."""
    ids = [("r0", "residual", 0), ("r1", "residual", 1), ("p0", "plain", 0), ("p1", "plain", 1)]
    runs = pd.DataFrame(
        {
            "run_id": [i for i, _, _ in ids],
            "twin": [t for _, t, _ in ids],
            "seed": [s for _, _, s in ids],
            "depth": 6,
            "design": "mHC",
            "final_train_loss": [2.0, 2.2, 3.0, np.nan],
            "diverged_at": [np.nan, np.nan, np.nan, 5.0],
        }
    )
    blocks = pd.DataFrame(
        [
            {**dict(zip(("run_id", "twin", "seed"), one, strict=True)), "depth": 6, "step": step,
             "block_index": block, "input_grad_norm": norm, "skip_share": share, "input_rms": rms}
            for one in ids
            for step in (0, 9)
            for block, norm, share, rms in (
                (0, 4.0 + step, 0.2, 1.0 + step), (1, 2.0, 0.6, 2.0), (2, 1.0, 0.9, 3.0),
                (3, 2.0, None, None),
            )
        ]
    )  # fmt: skip
    states = pd.DataFrame({"run_id": ["r0", "p1", "p1"], "grad_state": ["finite", "nan", "inf"]})
    ratios = study.end_to_end(blocks).merge(runs[["run_id", "design"]])
    [row] = study.design_table(runs, blocks, ratios, states).rows
    assert (row["design"], row["depth"], row["seeds"], row["diverged"]) == ("mHC", 6, 2, 1)
    assert row["residual, loss (95 % interval)"].mean == pytest.approx(2.1)
    assert row["plain, loss (95 % interval)"].mean == pytest.approx(3.0)
    assert row["residual, gradient ratio"].mean == pytest.approx(2.0)
    assert row["skip share, median block"] == pytest.approx(0.6)
    assert row["stream, last block over first"] == pytest.approx(9.0)
    assert row["layers with gradients not finite"] == 2
