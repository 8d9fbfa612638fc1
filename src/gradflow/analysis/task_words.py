"""What loss and error are called: of classes, of tokens, or of numbers that are predicted."""

import pandas as pd

PREDICT_IMAGES = ("unet", "diffusion_unet")  # families whose error is a relative squared error
PREDICT_TOKENS = ("language_model",)  # families whose task is next_token

RELATIVE = (
    "The relative squared error of networks that predict images or numbers is the mean squared "
    "error's share of its target's mean square."
)
"""For captions; numbers are brought to mean 0 and variance 1 before."""


def is_squared(runs: pd.DataFrame) -> "pd.Series[bool]":
    """Whether the loss of a run is a mean squared error."""
    by_family = (runs.task == "family") & runs.network_name.isin(PREDICT_IMAGES)
    return by_family | runs.task.isin(["identity", "regression"])


def error_name(runs: pd.DataFrame) -> str:
    """The axis label of `error`: what the error of these networks is."""
    relative = is_squared(runs)
    if not relative.any():
        return "training error (%)"
    return "relative squared error (%)" if relative.all() else "error (%)"


def loss_name(runs: pd.DataFrame) -> str:
    """The axis label of their training loss, with its unit."""
    squared = is_squared(runs)
    if squared.all():
        return "training loss (squared error)"
    if squared.any():
        return "training loss"
    return f"training loss ({nats(runs)})"


def nats(runs: pd.DataFrame) -> str:
    """The unit of a cross-entropy."""
    of_tokens = (runs.task == "next_token") | runs.network_name.isin(PREDICT_TOKENS)
    return "nats per token" if of_tokens.all() else "nats"
