"""The study of plain networks that train: what each run is called, its rate, its table."""

import pandas as pd
import pytest

from gradflow.analysis.studies import plain_that_train as study
from gradflow.verdict import RATE

BASE = {
    "network_name": "cifar_resnet",
    "twin": "plain",
    "network_norm": "batch",
    "network_activation": "relu",
    "network_initialization": "he_fan_out",
    "network_block": "basic",
}
SHAPED = {"network_norm": "none", "network_activation": "tailored_relu"}
LINEAR = {"network_name": "mlp", "network_activation": "identity", "network_block": None}


@pytest.mark.parametrize(
    ("differs", "name"),
    [
        ({}, "plain"),
        ({"twin": "residual"}, "residual"),
        ({"network_norm": "none"}, "plain, no norm"),
        ({"network_norm": "none", "twin": "residual"}, None),
        (SHAPED | {"network_initialization": "delta_orthogonal"}, "tailored rectifier"),
        (SHAPED | {"network_initialization": "he_fan_in"}, None),
        ({"network_block": "dirac"}, "DiracNet"),
        ({"network_block": "repvgg"}, "RepVGG"),
        ({"network_block": "repvgg", "twin": "residual"}, None),
        (LINEAR | {"network_initialization": "orthogonal"}, "linear, orthogonal"),
        (LINEAR, None),
    ],
)
def test_a_run_is_called_by_its_design(differs, name):
    runs = pd.DataFrame([BASE | differs], dtype=object)
    assert study.names(runs).tolist() == [name]


def test_every_design_has_a_look_of_its_own():
    looks = [(look["color"], look["marker"]) for look in study.LOOKS.values()]
    assert len(set(looks)) == len({color for color, _ in looks}) == len(study.LOOKS)


def test_the_table_by_hand():
    """Two seeds at two rates: each has the rate that is best for the other, and its run's ratio."""
    rows = [
        {"run_id": f"{rate}-{seed}", "design": "DiracNet", "depth": 8, "twin": "plain",
         "seed": seed, RATE: rate, "error": error}
        for rate, errors in ((0.1, (10.0, 30.0)), (0.2, (20.0, 4.0)))
        for seed, error in enumerate(errors)
    ]  # fmt: skip
    best = study.at_best_rates(pd.DataFrame(rows))
    assert sorted(best.run_id) == ["0.1-1", "0.2-0"]
    ratios = pd.DataFrame(
        {"run_id": ["0.1-1", "0.2-0"], "design": "DiracNet", "ratio": [2.0, 8.0], "is_bound": False}
    )
    bound = ratios.assign(is_bound=[False, True])
    [row] = study.design_table(best, {"first": ratios, "last": bound}, "").rows
    assert (row["design"], row["depth"], row["seeds"]) == ("DiracNet", 8, 2)
    assert row["training error %"] == "25.0 (20.0 ... 30.0)"
    assert row["gradient ratio, as drawn"].mean == pytest.approx(4)
    assert row["gradient ratio, trained"].n == 1
