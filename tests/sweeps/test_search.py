"""A search proposes, prunes and remembers; its trials are runs like any other."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from gradflow.config.run import SearchConfig
from gradflow.core.errors import GradflowError
from gradflow.records import read_runs
from gradflow.runs.execute import execute
from gradflow.runs.planning import plan
from gradflow.runs.status import state_of
from gradflow.sweeps.searched import distribution
from gradflow.training.optimizers.sgd import SGDConfig
from gradflow.training.pruning import open_search
from tests.support.configs import small_config
from tests.support.processes import assert_equal_records

ROOT = Path(__file__).parents[2]


def override(text):
    [parsed] = OverridesParser.create().parse_overrides([text])
    return parsed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=interval(0.5,2)", FloatDistribution(0.5, 2)),
        ("a=tag(log,interval(0.001,1))", FloatDistribution(0.001, 1, log=True)),
        ("a=int(interval(1,8))", IntDistribution(1, 8)),
        ("a=choice(8,14)", CategoricalDistribution(["8", "14"])),
        ("a=range(1,7,2)", CategoricalDistribution(["1", "3", "5"])),
    ],
)
def test_what_is_searched(text, expected):
    assert distribution(override(text)) == expected


def test_an_interval_that_has_no_logarithm_is_refused():
    with pytest.raises(GradflowError, match="^a: cannot be searched"):
        distribution(override("a=tag(log,interval(0,1))"))


def trial_config(root, rate, trial, **options):
    search = SearchConfig(study="s", trial=trial, **options)
    optimizer = SGDConfig(learning_rate=rate)
    return small_config(root, steps=12, optimizer=optimizer, search=search)


def searched(root, trials):
    """A search whose trials, all good, have ended."""
    config = trial_config(root, 0.05, 0)
    study = open_search(config, "s")
    for _ in range(trials):
        trial = study.ask()
        for step in (4, 8, 12):
            trial.report(0.0, step)
        study.tell(trial, 0.0)
    return study


def test_a_run_worse_than_the_median_is_pruned_and_may_go_on(tmp_path):
    study = searched(tmp_path / "parts", 5)
    config = trial_config(tmp_path / "parts", 1e-9, study.ask().number)  # learns nothing
    result = execute(config)
    assert (result.status, result.skipped) == ("pruned", False)
    assert state_of(result.folder) == "pruned"
    assert list(study.trials[5].intermediate_values) == [4]
    # It is the same run without the search, and ends as if it had never been pruned.
    alone = replace(config, search=SearchConfig())
    assert execute(alone).status == "finished"
    whole = execute(replace(alone, output_root=str(tmp_path / "whole")))
    assert_equal_records(whole.folder, result.folder)


@pytest.mark.parametrize(("ended", "options"), [(4, {}), (5, {"prune": False})])
def test_none_is_pruned_before_there_is_a_median_or_if_it_is_off(tmp_path, ended, options):
    study = searched(tmp_path, ended)
    config = trial_config(tmp_path, 1e-9, study.ask().number, **options)
    assert execute(config).status == "finished"
    assert list(study.trials[ended].intermediate_values) == [4, 8]  # the last is not judged


def test_the_search_is_no_part_of_a_runs_identity(tmp_path):
    one = plan(trial_config(tmp_path, 0.05, 3))
    assert one.folder == plan(trial_config(tmp_path, 0.05, 9, trials=7)).folder


def test_the_next_proposals_depend_on_the_past_alone(tmp_path):
    space = {"x": FloatDistribution(0, 1)}

    def propose(root):
        return open_search(small_config(root), "s").ask(space)

    first = propose(tmp_path / "a")
    assert propose(tmp_path / "b").params == first.params
    open_search(small_config(tmp_path / "a"), "s").tell(first.number, 0.5)
    assert propose(tmp_path / "a").params != first.params


def tune(root, *overrides):
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "experiments/tune.py"),
            *overrides,
            "network.width=4",
            "data.subset=128",
            "data.batch_size=32",
            "steps=8",
            f"output_root={root}",
            "~hydra.callbacks.analysis",
        ],
        capture_output=True,
        text=True,
    )
    assert "Traceback" not in done.stderr
    return done


RATE_COLUMN = "optimizer_learning_rate"
RATE = "optimizer.learning_rate=tag(log,interval(0.001,1))"


@pytest.mark.slow
def test_a_search_in_every_cell_and_the_same_command_again(tmp_path):
    """Two searches; done again, nothing is run and the same is told."""
    arguments = ["network.depth=8", "network.skip=true,false", RATE, "search.trials=2"]
    done = tune(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    runs = read_runs(tmp_path / "search")
    assert len(runs) == 4
    assert runs.optimizer_learning_rate.nunique() == 4  # each cell draws its own
    for skip in (True, False):
        cell = runs[runs.network_skip == skip]
        best = cell[cell.final_train_error == cell.final_train_error.min()]  # there may be ties
        told = [f"| network.skip={str(skip).lower()} | {rate:.4g} |" for rate in best[RATE_COLUMN]]
        assert any(line in done.stdout for line in told)
    again = tune(tmp_path, *arguments)
    assert "finished" not in again.stdout
    assert again.stdout.splitlines()[-4:] == done.stdout.splitlines()[-4:]


@pytest.mark.slow
def test_a_search_that_was_stopped_goes_on_with_the_same_trials(tmp_path):
    """After two of four batches, told more trials: the runs are those of one search of four."""
    arguments = ["network.depth=8", RATE, "search.batch=1"]
    for trials in (2, 4):
        assert tune(tmp_path / "parts", *arguments, f"search.trials={trials}").returncode == 0
    assert tune(tmp_path / "whole", *arguments, "search.trials=4").returncode == 0
    assert_equal_records(tmp_path / "whole" / "search", tmp_path / "parts" / "search")


@pytest.mark.slow
def test_a_diverged_trial_is_the_worst_and_a_failed_one_is_told(tmp_path):
    done = tune(
        tmp_path, "network.depth=8", "optimizer.learning_rate=choice(1e30,0.05)", "search.trials=6"
    )
    assert done.returncode == 0, done.stderr
    assert "| all | 0.05 |" in done.stdout
    values = [t.value for t in _study(tmp_path).trials]
    assert math.inf in values


def _study(root):
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(root / "search" / ".search.journal")))
    return optuna.load_study(study_name=None, storage=storage)


def test_nothing_to_search_is_told(tmp_path):
    done = tune(tmp_path, "network.depth=8,14")
    assert done.returncode == 1
    assert done.stderr.startswith("error: nothing to search: give a key an interval()")


def test_a_dry_run_names_the_cells(tmp_path):
    done = tune(tmp_path, "network.depth=8,14", RATE, "dry_run=true")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "would search optimizer.learning_rate with 20 trials in each of:\n"
        "  network.depth=8\n  network.depth=14\n"
    )
    assert not (tmp_path / "search").exists()
