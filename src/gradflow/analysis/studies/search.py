"""How did a search get to its best? Its history, and every trial against each searched key.

python analysis/search.py outputs/search
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from gradflow.analysis.figures import style
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.studies.importance import bars, importances
from gradflow.analysis.swept import EVERY_KEY
from gradflow.analysis.task_words import error_name, loss_name
from gradflow.config.conf_folder import JOURNAL
from gradflow.config.run import SearchConfig
from gradflow.config.saved import read_config
from gradflow.core.errors import GradflowError
from gradflow.runs.status import CONFIG

SWEPT = EVERY_KEY
OBJECTIVES = {"final_train_error": 100, "final_test_error": 100, "final_train_loss": 1}
"""What a search lowers, and the factor to the unit of its axis."""

COLUMNS = 4  # of panels; a search per combination of what was listed
LOOKS: dict[str, dict[str, Any]] = {
    "complete": {"marker": "o", "color": style.COLORS["residual"], "mfc": "none"},
    "pruned": {"marker": "v", "color": "0.45", "mfc": "none"},
    "failed": {"marker": "x", "color": style.COLORS["plain"]},
}
"""How a trial ended, and its mark. A pruned one stands at its last evaluation."""


def analyze(output: Output) -> None:
    """The history, the slices and the importance of the keys.

    Raises:
        GradflowError: there was no search, or its journal cannot be read.
    """
    trials = trials_of(output.study.folder)
    searched = [name for name in trials.columns if name.startswith("param ")]
    draw_history(output, trials)
    for name in searched:
        draw_slices(output, trials, name)
    draw_importance(output, trials, searched)


def trials_of(folder: Path) -> pd.DataFrame:
    """A row per trial of every search in a study's journal: `of` (what was listed), `number`,
    `ending` (complete, pruned, failed), `value` of the objective, NaN if there is none, and
    `param <key>` for each searched key. Trials that are still running are left out.

    Raises:
        GradflowError: there is no journal, or it cannot be read, or no trial has ended.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path = folder / JOURNAL
    if not path.exists():
        raise GradflowError(f"{folder}: no search; gradflow tune does one")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        storage = JournalStorage(JournalFileBackend(str(path.absolute())))
        names = optuna.get_all_study_names(storage)
        studies = [optuna.load_study(study_name=name, storage=storage) for name in names]
    except (OSError, ValueError, KeyError) as error:  # ValueError, KeyError: a damaged journal
        raise GradflowError(f"{path}: cannot be read ({error})") from error
    words = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    rows = []
    for study in studies:
        for trial in study.trials:
            if trial.state.name in words:
                last = max(trial.intermediate_values, default=None)
                value = trial.value if last is None or trial.value is not None else (
                    trial.intermediate_values[last]
                )  # fmt: skip
                rows.append(
                    {
                        "of": re.sub(r"\S+\.(?=\S+=)", "", study.study_name.rpartition(" ")[0]),
                        "number": trial.number,
                        "ending": words[trial.state.name],
                        "value": np.nan if value is None or np.isinf(value) else float(value),
                        **{f"param {key}": found for key, found in trial.params.items()},
                    }
                )
    if not rows:
        raise GradflowError(f"{folder}: no trial of its search has ended")
    return pd.DataFrame(rows)


def draw_history(output: Output, trials: pd.DataFrame) -> None:
    """The objective by trial, and the best so far, a panel per search."""
    with _panels(output, trials) as (made, panels):
        for ax, (_, found) in panels:
            marks(found, "number", ax=ax)
            best = found.sort_values("number")
            best = best.assign(value=best.value.where(best.ending == "complete").cummin())
            ax.step(best.number, best.value, where="post", color="k", lw=1, label="best so far")
            style.whole_axis(ax, "trial")
        style.legend(made, [ax for ax, _ in panels])
        caption = (
            "History of each search: the objective of every trial, marked by how it ended (a "
            "pruned one stands at its last evaluation), and the lowest so far (line). Marks on the "
            "upper edge: trials without a number (diverged, failed, or no config)."
        )
        output.add_figure(made, "search_history", caption)


def draw_slices(output: Output, trials: pd.DataFrame, name: str) -> None:
    """The objective against one searched key, a panel per search."""
    key = name.removeprefix("param ")
    values = trials[name].dropna()
    numbers = pd.api.types.is_numeric_dtype(values)
    decades = numbers and values.min() > 0 and values.max() >= 10 * values.min()
    with _panels(output, trials) as (made, panels):
        for ax, (_, found) in panels:
            marks(found.dropna(subset=name).sort_values(name), name, ax=ax)
            if decades:
                ax.set_xscale("log")
                ax.set_xlim(values.min() / 1.3, values.max() * 1.3)
            ax.set_xlabel(key)
        style.legend(made, [ax for ax, _ in panels])
        caption = (
            f"The objective of every trial against {key}, a panel per search. A pruned trial "
            "stands at its last evaluation. Marks on the upper edge: trials without a number."
        )
        output.add_figure(made, f"search_slice_{key}", caption)


def draw_importance(output: Output, trials: pd.DataFrame, searched: list[str]) -> None:
    """The share of the objective's variance that each searched key explains, a panel per search;
    nothing if one key was searched, which explains all that is explained."""
    if len(searched) < 2:
        return
    with _panels(output, trials, apart=True) as (made, panels):
        for ax, (_, found) in panels:
            complete = found[found.ending == "complete"].dropna(subset="value")
            keys = [name for name in searched if complete[name].nunique() > 1]
            if len(complete) > 1 and keys:
                shares = importances(complete, keys, "value")
                bars({name.removeprefix("param "): share for name, share in shares.items()}, ax=ax)
        caption = (
            "Share of the variance of the objective that each searched key explains by itself "
            "(fANOVA, Hutter et al. 2014, by Optuna), over the complete trials of each search."
        )
        output.add_figure(made, "search_importance", caption)


def marks(trials: pd.DataFrame, x: str, *, ax: Axes) -> Axes:
    """A mark per trial, of the look of its ending; those without a value on the upper edge."""
    for ending, look in LOOKS.items():
        here = trials[trials.ending == ending]
        edge = ax.get_xaxis_transform()
        lost = here[here.value.isna()].assign(value=1.0)
        for found, place in ((here[here.value.notna()], ax.transData), (lost, edge)):
            if len(found):
                ax.plot(
                    found[x], found.value, ls="none", ms=4, label=ending, clip_on=False,
                    transform=place, **look,
                )  # fmt: skip
    return ax


@contextmanager
def _panels(
    output: Output, trials: pd.DataFrame, apart: bool = False
) -> Iterator[tuple[style.Made, list[tuple[Axes, tuple[str, pd.DataFrame]]]]]:
    """A figure with a panel per search, each with its trials and the title of what was listed.

    apart: each with axes of its own.
    """
    found = [(str(title), rows) for title, rows in trials.groupby("of", sort=False)]
    objective, runs = objective_of(output.study.folder), output.study.runs
    name, factor = error_name(runs), OBJECTIVES[objective]
    if objective == "final_train_loss":
        name = loss_name(runs)
    elif objective == "final_test_error":
        name = f"test {name.removeprefix('training ')}"
    found = [(title, rows.assign(value=factor * rows.value)) for title, rows in found]
    columns = min(COLUMNS, len(found), 2 if len(found) <= COLUMNS else COLUMNS)
    rows = -(-len(found) // columns)
    height = 0.8 + 1.7 * rows
    with output.figure(rows, columns, height=height, sharey=not apart) as (made, axes):
        for ax in axes.flat[len(found) :]:
            ax.set_visible(False)
        for ax, (title, _) in zip(axes.flat, found, strict=False):
            ax.set_title(title)
        for ax in axes[:, 0] if not apart else ():
            ax.set_ylabel(name)
        yield made, list(zip(axes.flat, found, strict=False))


def objective_of(folder: Path) -> str:
    """The objective that a trial's config names; the default's if none can be read."""
    for path in sorted(folder.glob(f"*/{CONFIG}")):
        with suppress(GradflowError):
            name = (read_config(path).get("search") or {}).get("objective")
            if name in OBJECTIVES:
                return str(name)
    return SearchConfig().objective


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__, swept=SWEPT)
