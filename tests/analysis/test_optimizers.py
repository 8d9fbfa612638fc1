"""The study of optimizers: which runs are compared, and at which rate."""

import numpy as np
import pandas as pd

from gradflow.analysis.studies import optimizers
from gradflow.verdict import RATE

SGD = {
    "optimizer_name": "sgd", "optimizer_clip_norm": np.nan, "schedule_name": "cosine",
    "depth": 8, "twin": "plain", "steps": 60,
}  # fmt: skip


def table_of(errors):
    """The table of {(rate, seed): training error as a share}, all of SGD."""
    runs = [
        SGD | {RATE: rate, "seed": seed, "final_train_error": error}
        for (rate, seed), error in errors.items()
    ]
    return optimizers.at_best_rates(pd.DataFrame(runs))


def test_each_seed_has_the_rate_that_is_best_for_the_others():
    best = table_of({(0.1, 0): 0.1, (0.1, 1): 0.3, (0.2, 0): 0.2, (0.2, 1): 0.04})
    assert best.set_index("seed").error.round(6).to_dict() == {0: 20.0, 1: 30.0}
    [row] = optimizers.error_table(best).rows
    assert row["60 steps, error %"] == "25.0 (20.0 ... 30.0)"


def test_the_rate_that_most_seeds_have_and_those_that_were_tried():
    at = {0.1: (0.3, 0.3, 0.3), 0.2: (0.1, 0.1, 0.4), 0.4: (0.5, 0.5, 0.05)}
    best = table_of(
        {(rate, seed): e for rate, errors in at.items() for seed, e in enumerate(errors)}
    )
    assert best.sort_values("seed")[RATE].tolist() == [0.2, 0.2, 0.2]
    [row] = optimizers.rate_table(best).rows
    assert row["60 steps"] == "0.2 (0.1 ... 0.4)"


def test_a_rate_that_not_every_seed_has_is_not_chosen():
    best = table_of({(0.1, 0): 0.1, (0.1, 1): 0.3, (0.2, 0): 0.0})
    assert best.set_index("seed").error.round(6).to_dict() == {0: 10.0, 1: 30.0}


def test_seeds_without_a_rate_in_common_have_no_error():
    """An error at a rate that was chosen by fewer of the others would not compare."""
    best = table_of({(0.1, 0): 0.1, (0.1, 1): 0.3, (0.2, 2): 0.2})
    assert best.error.isna().all()
