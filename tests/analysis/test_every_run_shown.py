"""A report shows every run of a study, whatever was swept and whatever became of the runs."""

import itertools
import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from gradflow.analysis import inferred, make
from gradflow.analysis.output import Output
from gradflow.analysis.report import page
from gradflow.analysis.script import run_script
from gradflow.analysis.settings import varied_columns
from gradflow.analysis.studies import best_value, degradation, every_run, importance
from gradflow.analysis.study import load_study
from gradflow.analysis.swept import TWINS_DIFFER_IN, file_part, label, of_setting, swept_keys
from gradflow.config.run_id import TWINS
from gradflow.records import read_runs
from gradflow.training.pruning import open_search
from tests.support.figures import checked
from tests.support.simulated import config_of, simulate

NAMED = ("degradation", "gradient_highway", "ledger", "updates", "health", "verdict")


@pytest.fixture
def _without_images(monkeypatch):
    """Figures are drawn, and neither laid out nor painted."""

    def savefig(self: Figure, file: Any, **options: object) -> None:
        file.write(b'<svg width="1pt" height="1pt"/>')

    monkeypatch.setattr(Figure, "savefig", savefig)
    monkeypatch.setattr(page, "FORMATS", ("svg",))


@pytest.fixture
def _laid_out(_without_images, monkeypatch):
    """Figures are laid out as when they are saved."""

    def savefig(self: Figure, file: Any, **options: object) -> None:
        self.draw_without_rendering()
        file.write(b'<svg width="1pt" height="1pt"/>')

    monkeypatch.setattr(Figure, "savefig", savefig)


def study_of(root: Path, name: str, **keys: list[Any]) -> Path:
    """Every combination of some keys of `config_of`, simulated."""
    for values in itertools.product(*keys.values()):
        simulate(config_of(root, name, **dict(zip(keys, values, strict=True))))
    return root / name


def report_of(folder: Path) -> page.Report:
    report = page.make_report(folder)
    assert report.failures == []
    assert (folder / "report.html").stat().st_size > 1000
    return report


def drawn(folder: Path, *names: str) -> pd.DataFrame:
    """The points of all figures whose names begin so."""
    paths = [path for name in names for path in folder.glob(f"figures/{name}*.csv")]
    return pd.concat([pd.read_csv(path) for path in paths])


def assert_every_run_is_shown(folder: Path) -> None:
    """Each run's own error is a point of a figure, and so is its own end-to-end ratio; its
    network at its depth is in the table of settings. All of them differ from run to run."""
    runs = read_runs(folder)
    finished = runs[runs.status == "finished"]
    points = drawn(folder, "error_by_")
    for error in finished.final_train_error:
        assert np.isclose(points.y, 100 * error, rtol=1e-9).any()
    ratios = every_run.first_ratios(load_study(folder))
    assert set(ratios.run_id) == set(runs.run_id)
    shown = drawn(folder, "gradient_ratio_by_").y, drawn(folder, "gradient_ratio--").y
    for ratio in ratios.ratio:
        for where in shown:  # against each key, and in the figure of its own setting
            assert np.isclose(where, ratio, rtol=1e-6).any()
    table = pd.read_csv(folder / "tables" / "settings.csv")
    keys = swept_keys(runs)
    for run in runs.to_dict("records"):
        rows = table[(table.depth == run["network_depth"])]
        rows = rows[rows.network == TWINS[run["network_skip"]]]
        assert len(rows) == runs.drop_duplicates(keys).shape[0]
    counted = table["training error %, each seed"].astype(str).str.count(",") + 1
    assert counted.sum() == len(runs)


@pytest.mark.usefixtures("_without_images")
def test_a_sweep_of_a_norm_and_a_rate_shows_all_of_its_runs(tmp_path, capsys):
    """Does another norm keep a plain network trainable? Once shown of one norm in six."""
    folder = study_of(
        tmp_path, "dyt", norm=["batch", "layer"], rate=[0.03, 0.3], depth=[8, 14],
        skip=[False, True],
    )  # fmt: skip
    assert swept_keys(read_runs(folder)) == ["network_norm", "optimizer_learning_rate"]
    report_of(folder)
    assert_every_run_is_shown(folder)
    figures = {path.stem for path in folder.glob("figures/*.json")}
    for norm, rate in itertools.product(("batch", "layer"), ("0.03", "0.3")):
        name = f"gradient_profile--norm-{norm}--learning_rate-{rate}"
        assert name in figures
        facts = json.loads((folder / "figures" / f"{name}.json").read_text())
        assert facts["setting"] == f"norm={norm}, learning_rate={rate}"
        assert facts["caption"].startswith(f"Shown: {facts['setting']} (others: norm=")
        assert len(facts["others"]) == 3
        assert len(facts["runs"]) == 4
        assert len(facts["every_run"]) == 16
    assert {"heatmap_learning_rate--norm-layer", "best_learning_rate--norm-batch", "importance",
            "error_by_norm", "error_by_learning_rate"} <= figures  # fmt: skip
    assert "made without" not in (folder / "report.html").read_text()
    # The answer, the report, the tables and what next: the files only if they are asked for.
    capsys.readouterr()
    page.main([str(folder)])
    lines = [line for line in capsys.readouterr().out.splitlines() if "note:" not in line]
    assert [line.split(":")[0] for line in lines] == ["answer", "report", "tables", "next"]
    page.main([str(folder), "--files"])
    assert f"{folder / 'report.html'}\n" in capsys.readouterr().out


@pytest.mark.usefixtures("_without_images")
@pytest.mark.parametrize(
    "keys",
    [
        {"depth": [20, 56], "rate": [0.01, 0.1]},  # of docs/how-to/sweep.md
        {"skip": [False, True], "subset": [64, 256]},
        {"skip": [False, True], "augment": [False, True]},
    ],
    ids=["readme", "numbers", "switch"],
)
def test_a_sweep_of_one_key_shows_all_of_its_runs(tmp_path, keys):
    folder = study_of(tmp_path, "mine", **keys)
    report_of(folder)
    assert_every_run_is_shown(folder)


@pytest.mark.usefixtures("_without_images")
def test_a_search_shows_its_trials(tmp_path):
    """Two searches, one per skip; of each one trial diverges and one was pruned."""
    rates = {False: [], True: []}
    for skip in rates:
        study = open_search(config_of(tmp_path, "search"), f"network.skip={skip} 0123456789ab")
        for number in range(5):
            import optuna

            trial = study.ask({"optimizer.learning_rate": optuna.distributions.FloatDistribution(
                0.001, 1, log=True)})  # fmt: skip
            config = config_of(
                tmp_path, "search", skip=skip, rate=trial.params["optimizer.learning_rate"]
            )
            if number == 3:
                trial.report(0.77, 4)
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                simulate(config, "unfinished")
            elif number == 4:
                simulate(config, "diverged")
                study.tell(trial, float("inf"))
            else:
                simulate(config)
                [run] = [
                    r for r in read_runs(tmp_path / "search").to_dict("records")
                    if r["optimizer_learning_rate"] == config.optimizer.learning_rate
                ]  # fmt: skip
                study.tell(trial, run["final_train_error"])
            rates[skip].append(config.optimizer.learning_rate)
    folder = tmp_path / "search"
    report_of(folder)
    slices = drawn(folder, "search_slice_optimizer.learning_rate")
    assert set(slices.title) == {"skip=False", "skip=True"}
    for rate in itertools.chain(*rates.values()):
        assert np.isclose(slices.x, rate, rtol=1e-9).any()
    history = drawn(folder, "search_history")
    for error in read_runs(folder).final_train_error.dropna():
        assert np.isclose(history.y, 100 * error).any()
    assert np.isclose(history.y, 77).any()
    best = history[(history.panel == "a") & (history.label == "best so far")].y.dropna()
    assert best.is_monotonic_decreasing


@pytest.mark.slow
@pytest.mark.parametrize("venue", ["web", "neurips", "slides"])
def test_the_figures_of_swept_keys_pass_the_checklist(tmp_path, venue):
    folder = study_of(
        tmp_path, "dyt", norm=["batch", "layer"], rate=[0.03, 0.3], depth=[8, 14],
        skip=[False, True],
    )  # fmt: skip
    with checked() as found:
        for script in (every_run, best_value, importance):
            script.analyze(Output(load_study(folder), ["png"], venue))
    assert found == {}


RUNS = [
    dict(zip(("depth", "skip", "seed", "rate"), values, strict=True))
    for values in itertools.product((8, 14), (False, True), (0, 1), (0.1, 0.3))
]
STATES = ("finished", "finished", "finished", "diverged", "unfinished", "missing")


def random_part(root: Path, seed: int) -> Path:
    """A study of a random choice of runs, which ended in different ways or not at all."""
    choose = random.Random(seed)
    keys = {key: choose.sample(sorted({run[key] for run in RUNS}), choose.randint(1, 2))
            for key in RUNS[0]}  # fmt: skip
    named = choose.choice([(), NAMED])
    found = [run for run in RUNS if all(run[key] in keys[key] for key in keys)]
    found = choose.sample(found, choose.randint(1, len(found)))
    states = ["finished"] if choose.random() < 0.3 else STATES
    for run in found:
        simulate(config_of(root, f"part{seed}", analysis=named, **run), choose.choice(states))
    return root / f"part{seed}"


def check_part(folder: Path) -> None:
    report = page.make_report(folder)
    text = (folder / "report.html").read_text()
    ended = sum(1 for _ in folder.glob("*/runs"))
    if not ended:
        assert "has finished" in text
        return
    # A study of diverged runs alone has an error that says so, and nothing breaks.
    expected = ("every run of the study diverged", "no layer of depth", "no recorded value")
    assert [f for f in report.failures if not any(words in f for words in expected)] == []
    shown = {run for path in folder.glob("figures/*.json")
             for run in json.loads(path.read_text())["runs"]}  # fmt: skip
    assert shown == set(read_runs(folder).run_id)


@pytest.mark.usefixtures("_laid_out")
@pytest.mark.parametrize("seed", range(2))
def test_any_part_of_a_study_has_its_report(tmp_path, seed):
    check_part(random_part(tmp_path, seed))


@pytest.mark.slow
@pytest.mark.usefixtures("_laid_out")
@pytest.mark.parametrize("seed", range(10, 60))
def test_any_part_of_a_study_has_its_report_again(tmp_path, seed):
    check_part(random_part(tmp_path, seed))


@pytest.mark.usefixtures("_without_images")
def test_a_broken_figure_costs_only_itself(tmp_path, monkeypatch, capsys):
    folder = study_of(tmp_path, "mine", depth=[8, 14])
    report_of(folder)
    assert (folder / "figures" / "degradation.svg").exists()

    def broken(output: Any) -> None:
        raise ZeroDivisionError("a fault\nof the script")

    monkeypatch.setattr(degradation, "analyze", broken)
    (folder / make.MADE).unlink()
    (folder / "report.html").unlink()
    with pytest.raises(SystemExit, match="degradation: ZeroDivisionError: a fault of the script"):
        page.main([str(folder)])
    text = (folder / "report.html").read_text()
    assert "not shown: degradation: ZeroDivisionError: a fault of the script" in text
    assert "Gradient ratio" in text
    assert (folder / "figures" / "gradient_ratio.svg").exists()


@pytest.mark.usefixtures("_without_images")
def test_files_of_settings_that_are_no_more_are_deleted(tmp_path):
    folder = study_of(tmp_path, "mine", depth=[8, 14])
    report_of(folder)
    assert (folder / "figures" / "ledger.json").exists()
    study_of(tmp_path, "mine", depth=[8], rate=[0.3])
    report_of(folder)
    names = {path.name for path in (folder / "figures").glob("ledger*")}
    assert names == {
        f"{figure}--learning_rate-{rate}.{kind}"
        for figure in ("ledger", "ledger_parts")
        for rate in ("0.1", "0.3")
        for kind in ("svg", "json", "csv")
    }


def test_a_study_of_which_nothing_ended_is_not_up_to_date(tmp_path, monkeypatch):
    simulate(config_of(tmp_path, "mine"), "unfinished")
    monkeypatch.setattr("sys.argv", ["make.py", str(tmp_path / "mine")])
    with pytest.raises(SystemExit, match="mine: nothing to show: .* none of its 1 runs"):
        make.main()


@pytest.mark.usefixtures("_without_images")
def test_where_writes_to_files_of_its_own(tmp_path, monkeypatch, capsys):
    folder = study_of(tmp_path, "mine", depth=[8, 14], rate=[0.1, 0.3])
    words = ["degradation.py", str(folder), "--format", "svg", "--where"]
    for where in ("optimizer.learning_rate=0.1", "network_depth=8"):
        monkeypatch.setattr("sys.argv", [*words, where])
        run_script(degradation.analyze, "")
    names = {path.stem for path in folder.glob("figures/degradation*.svg")}
    assert names == {
        "degradation--learning_rate-0.1",
        "degradation--depth-8--learning_rate-0.1",
        "degradation--depth-8--learning_rate-0.3",
    }


def test_too_many_settings_are_named_and_not_drawn_one_by_one(tmp_path):
    folder = study_of(tmp_path, "mine", rate=[0.01 * k for k in range(1, make.MOST + 2)])
    study = load_study(folder)
    made = make.Made([], [], [], [])
    assert make._tasks("degradation", study, made) == []
    assert made.notes[0].startswith("degradation: not drawn for each of 13 settings; python")
    assert len(make._tasks("every_run", study, made)) == 1


def test_what_was_swept_decides_what_is_drawn(tmp_path):
    folder = study_of(tmp_path, "mine", depth=[8], skip=[False, True], norm=["batch", "layer"])
    runs = read_runs(folder)
    base = ["degradation", "gradient_highway", "ledger", "verdict"]
    assert list(inferred.analyses_of(folder, runs)) == [*base, "every_run"]
    plain = runs[~runs.network_skip]
    assert list(inferred.analyses_of(folder, plain)) == [*base[:2], "every_run"]
    # A study that names its analyses keeps them, and gets those of what they do not show.
    named = study_of(tmp_path, "named", norm=["batch", "layer"], analysis=[["plain_vs_residual"]])
    found = inferred.analyses_of(named, read_runs(named))
    assert found == {"plain_vs_residual": True}
    named = study_of(tmp_path, "other", norm=["batch", "layer"], analysis=[["health"]])
    assert inferred.analyses_of(named, read_runs(named)) == {"health": True, "every_run": False}


def test_a_key_that_others_determine_is_no_setting_of_its_own():
    runs = pd.DataFrame(
        {
            "optimizer_name": ["sgd", "sgd", "adamw", "adamw"],
            "optimizer_beta1": [np.nan, np.nan, 0.9, 0.9],
            "steps": [10, 20, 10, 20],
            "data_subset": [64, 128, 64, 128],
            "network_depth": [8, 8, 14, 14],
        }
    )
    assert swept_keys(runs) == ["optimizer_name", "data_subset"] or swept_keys(runs) == [
        "optimizer_name",
        "steps",
    ]
    left = {*varied_columns(runs)} - {*TWINS_DIFFER_IN} - {*swept_keys(runs)}
    assert left == {"optimizer_beta1", *({"steps", "data_subset"} - {*swept_keys(runs)})}


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=200)
)


SETTINGS = st.dictionaries(st.sampled_from(["network_norm", "optimizer_learning_rate"]), VALUES)


@given(SETTINGS, SETTINGS)
def test_the_name_of_a_file_has_safe_characters_and_is_one_settings(one, other):
    for setting in (one, other):
        name = file_part(setting)
        assert not set(name) - set(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-"
        )
        assert len(name) < 100
    if label(one) != label(other):
        assert file_part(one) != file_part(other)


def test_the_runs_of_a_setting():
    runs = pd.DataFrame({"optimizer_clip_norm": [None, 1.0, 2.0], "seed": [0, 1, 2]})
    assert of_setting(runs, {"optimizer_clip_norm": None}).seed.tolist() == [0]
    assert of_setting(runs, {"optimizer_clip_norm": 2.0}).seed.tolist() == [2]


@pytest.mark.usefixtures("_without_images")
def test_what_was_deleted_is_made_again(tmp_path):
    """A ledger of files that were made says nothing of files that were deleted."""
    folder = study_of(tmp_path, "mine", depth=[8])
    made = make.make(folder, ["svg"], "web")
    assert made.failures == []
    shutil.rmtree(folder / "figures")
    assert len(make.make(folder, ["svg"], "web").paths) == len(made.paths)
