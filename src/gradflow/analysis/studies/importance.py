"""Which of the swept keys matters? The share of the error's variance that each explains.

python analysis/importance.py outputs/mine
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.axes import Axes

from gradflow.analysis.frames import dicts
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.settings import key_of, levels, value_text
from gradflow.analysis.swept import EVERY_KEY, is_numeric, swept_keys
from gradflow.analysis.tables import Cell, Table
from gradflow.core.errors import GradflowError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

SWEPT = EVERY_KEY
FEWEST = 8  # runs, below which a forest of trees explains nothing


def analyze(output: Output) -> None:
    """The figure and the table.

    Raises:
        GradflowError: fewer than two keys were swept, or few runs ended with an error.
    """
    study = output.study
    runs = study.runs.dropna(subset="final_train_error")
    keys = [
        key
        for key in ("network_depth", "network_skip", *swept_keys(runs))
        if runs[key].nunique(dropna=False) > 1
    ]
    if len(keys) < 2 or len(runs) < FEWEST:
        raise GradflowError(
            f"{study.folder}: {len(keys)} keys and {len(runs)} runs with an error; the importance "
            f"of keys takes two of the one and {FEWEST} of the other"
        )
    found = importances(runs, keys, "final_train_error")
    rows: list[dict[str, Cell]] = [
        {"key": key_of(key), "importance": share} for key, share in found.items()
    ]
    lost = len(study.runs) - len(runs)
    note = (
        "Share of the variance of the training error that a key explains by itself (fANOVA, Hutter "
        "et al. 2014, by Optuna), over the values that were run"
        + (f"; without {lost} runs that diverged." if lost else ".")
    )
    output.add_table("importance", Table(rows, {"importance": ".3f"}, note=note))
    with output.figure(1, 1, height=0.9 + 0.28 * len(keys)) as (made, axes):
        bars(found, ax=axes[0, 0])
        output.add_figure(made, "importance", note)


def importances(runs: pd.DataFrame, keys: Sequence[str], value: str) -> Mapping[str, float]:
    """Key -> the share of the variance of `value` that it explains, largest first, by Optuna's
    fANOVA; zeros if the value does not vary."""
    import optuna

    if runs[value].nunique() < 2:
        return dict.fromkeys(keys, 0.0)
    spaces = {key: _distribution(runs[key]) for key in keys}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study()
    for run in dicts(runs[[*keys, value]]):
        study.add_trial(
            optuna.trial.create_trial(
                params={key: _proposed(runs[key], run[key]) for key in keys},
                distributions=spaces,
                value=float(run[value]),
            )
        )
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _distribution(values: pd.Series) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if not is_numeric(values):
        return CategoricalDistribution([value_text(value) for value in levels(values)])
    low, high = float(values.min()), float(values.max())
    return FloatDistribution(low, high, log=low > 0 and high >= 10 * low)


def _proposed(values: pd.Series, value: Any) -> Any:
    return float(value) if is_numeric(values) else value_text(value)


def bars(found: Mapping[str, float], *, ax: Axes) -> Axes:
    """A bar per key, the most important on top."""
    names = [key_of(key) for key in found]
    ax.barh(range(len(names)), list(found.values()), color="0.45", height=0.6)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set_xlim(0, 1)
    ax.set_xlabel("share of the variance explained")
    return ax


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__, swept=SWEPT)
