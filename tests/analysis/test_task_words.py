"""Axes and captions say what the loss and the error of a study are."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from gradflow.analysis.output import Output
from gradflow.analysis.report.answer import _deepest, answer
from gradflow.analysis.studies import degradation
from gradflow.analysis.study import load_study
from gradflow.analysis.task_words import error_name, loss_name
from tests.support.figures import checked
from tests.support.simulated import config_of, simulate

RELATIVE = "The relative squared error of networks that predict images or numbers is the mean"


def runs(*pairs):
    return pd.DataFrame(pairs, columns=["network_name", "task"])


@pytest.mark.parametrize(
    ("pairs", "error", "loss"),
    [
        ([("mlp", "family")], "training error (%)", "training loss (nats)"),
        ([("custom", "next_token")], "training error (%)", "training loss (nats per token)"),
        (
            [("custom", "next_token"), ("mlp", "family")],
            "training error (%)",
            "training loss (nats)",
        ),
        (
            [("mlp", "regression"), ("unet", "family"), ("mlp", "identity")],
            "relative squared error (%)",
            "training loss (squared error)",
        ),
        ([("mlp", "regression"), ("mlp", "family")], "error (%)", "training loss"),
    ],
)
def test_a_name_for_each_task_and_for_a_mixture(pairs, error, loss):
    assert (error_name(runs(*pairs)), loss_name(runs(*pairs))) == (error, loss)


@pytest.mark.parametrize(
    ("task", "error", "loss", "words"),
    [
        ("family", "training error (%)", "training loss (nats)", "training error"),
        ("next_token", "training error (%)", "training loss (nats per token)", "training error"),
        (
            "regression",
            "relative squared error (%)",
            "training loss (squared error)",
            "relative squared error",
        ),
    ],
)
def test_a_study_is_drawn_and_answered_in_the_words_of_its_task(
    tmp_path, monkeypatch, task, error, loss, words
):
    for depth in (8, 14):
        for skip in (False, True):
            simulate(replace(config_of(tmp_path, "mine", depth=depth, skip=skip), task=task))
    labels, captions = {}, {}
    write = Output.add_figure

    def see(output, made, name, caption):
        labels[name] = [ax.get_ylabel() for ax in made.axes]
        captions[name] = caption
        write(output, made, name, caption)

    monkeypatch.setattr(Output, "add_figure", see)
    study = load_study(tmp_path / "mine")
    with checked() as faults:
        degradation.analyze(Output(study))
    assert faults == {}
    assert labels["degradation"] == [error, loss]
    assert labels["training_curves"][0] == loss
    assert (RELATIVE in captions["degradation"]) == (task == "regression")
    assert words in answer(study.runs, "")


def test_a_twin_of_which_every_run_diverged_is_not_given_an_error():
    runs = pd.DataFrame(
        {
            "network_depth": 20,
            "network_name": "cifar_resnet",
            "task": "family",
            "twin": ["plain"] * 2 + ["residual"] * 2,
            "error": [2.0, 4.0, np.nan, np.nan],
        }
    )
    assert _deepest(runs) == (
        "At depth 20, plain networks end at 3.0 % (2.0 to 4.0, 2 seeds) training error; "
        "all 2 residual networks diverged."
    )
    assert _deepest(runs[2:]) == "At depth 20, all 2 residual networks diverged."
