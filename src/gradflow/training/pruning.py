"""A search for the best values of any config keys: its memory, and what it says of a run.

Optuna proposes, remembers and judges. Its journal is a file beside the runs, so a search
that was killed resumes, and a run on another machine can ask whether it is worth its while.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gradflow.config import RunConfig
from gradflow.config.conf_folder import JOURNAL
from gradflow.core.errors import GradflowError
from gradflow.core.seeds import derive_seed
from gradflow.training.evaluation import Evaluation

if TYPE_CHECKING:
    import optuna

Judge = Callable[[int, Mapping[str, Evaluation]], bool]
"""(updates done, split -> its evaluation) -> whether the run is to be given up."""

OBJECTIVES = {
    "final_train_error": ("train", "error"),
    "final_test_error": ("test", "error"),
    "final_train_loss": ("train", "loss"),
}
"""Objective -> the split, and its field of `Evaluation`."""

STARTUP_TRIALS = 5  # of a search, before others are judged by the median of those that ended


class Pruned(Exception):  # noqa: N818, no error
    """The run was given up, as most others were better by then; it has left a checkpoint."""


def open_search(config: RunConfig, name: str) -> "optuna.Study":
    """The search of that name in the study's journal; a new one if there is none.

    What the sampler draws next is a function of (search.seed, name, trials ended), so a
    search that was interrupted resumes as if it had not been.

    Raises:
        GradflowError: the journal cannot be read or written.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # Absolute: Optuna's lock is a link to it, and a relative one that a killed process left would
    # point nowhere and be waited for without end.
    path = (Path(config.output_root) / config.study.name / JOURNAL).absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        study = optuna.create_study(
            study_name=name,
            storage=JournalStorage(JournalFileBackend(str(path))),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS),
            load_if_exists=True,
        )
    except (OSError, ValueError, KeyError) as error:  # ValueError, KeyError: a damaged journal
        raise GradflowError(f"{path}: cannot be used ({error})") from error
    ended = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
    seed = derive_seed(config.search.seed, name, ended) % 2**32
    study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    return study


def judge_of(config: RunConfig) -> Judge | None:
    """Who judges this run's evaluations; None where it is no trial of a search."""
    if config.search.trial is None or config.search.study is None:
        return None
    import optuna

    study = open_search(config, config.search.study)
    storage = study._storage
    try:
        number = storage.get_trial_id_from_study_id_trial_number(
            study._study_id, config.search.trial
        )
    except KeyError:
        raise GradflowError(
            f"search.trial={config.search.trial}: search.study={config.search.study} has no such "
            "trial; gradflow tune sets both"
        ) from None
    trial = optuna.trial.Trial(study, number)
    split, field = OBJECTIVES[config.search.objective]

    def judge(step: int, evaluated: Mapping[str, Evaluation]) -> bool:
        known = storage.get_trial(trial._trial_id).intermediate_values
        if step not in known:  # else the run went back to a checkpoint before this step
            trial.report(getattr(evaluated[split], field), step)
        return config.search.prune and trial.should_prune()

    return judge
