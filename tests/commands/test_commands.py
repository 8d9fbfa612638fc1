"""The commands of the pages, as a user types them."""

import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gradflow.config import RunConfig
from gradflow.config.hydra_bridge import register_schema, text_of, to_config
from gradflow.config.run_id import run_id
from gradflow.core.errors import GradflowError
from gradflow.records import read_records, read_runs

ROOT = Path(__file__).parents[2]
QUICK = ("data.subset=128", "data.batch_size=32", "network.width=2", "steps=6", "probe.every=5")


def command(script, *arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / script), *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=900,
    )


def train(root, *arguments):
    return command("experiments/train.py", *arguments, f"output_root={root}")


def refused(done, told):
    """One line on stderr, no traceback, a status that is not 0."""
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["network.dpeth=8"], "network.dpeth: no such key; did you mean depth?"),
        (["+network.dpeth=8"], "network.dpeth: no such key; did you mean depth?"),
        (["network.depth=57"], "network.depth=57: depth must be 6n+2; the nearest are 56 and 62"),
        (["optimizer.learning_rate=-1"], "optimizer.learning_rate=-1.0: must be > 0"),
        (["optimizer.learning_rate=fast"], "optimizer.learning_rate: Value 'fast'"),
        (
            ["study=degradatoin"],
            "study/degradatoin: no such file in conf/; choose one of beyond_cnn, budget",
        ),
        (
            ["schedule=one_cycle"],
            "schedule/one_cycle: no such file in conf/; choose one of constant, cosine, "
            "multi_step, warmup_cosine",
        ),
        (["network=vgg"], "network/vgg: no such file in conf/; choose one of cifar_resnet"),
        (["network.depth=8,14"], "network.depth=8,14"),
        (["-m", "network.depth=8,9"], "network.depth=9: depth must be 6n+2"),
        (["study=degradation", "network.depth=8,9"], "network.depth=9: depth must be 6n+2"),
        (["study=degradation", "steps=-1"], "steps=-1: must be >= 1"),
        (["data=cifar10", "data.folder=/nowhere"], "data.folder=/nowhere: no such folder"),
        (["data.subset=9999"], "data.subset=9999: the training split has 1437 images"),
        (["device=cuda"], "device=cuda: no CUDA device here"),
    ],
)
def test_bad_input_is_one_line(tmp_path, arguments, told):
    if arguments == ["device=cuda"]:
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has a CUDA device")
    refused(train(tmp_path, *arguments), told)
    assert not [p for p in tmp_path.glob("*/*") if not p.parent.name.startswith(".")]


def test_bad_data_folder_in_a_study_is_told_once(tmp_path):
    done = train(
        tmp_path,
        "study=degradation",
        "data=cifar10",
        "data.folder=/nowhere",
        "network.depth=8",
        "seed=0",
    )
    refused(done, "data.folder=/nowhere: no such folder")
    assert not (tmp_path / "degradation").exists()


@pytest.mark.parametrize("script", ["degradation", "gradient_highway"])
def test_analysis_of_bad_folders_is_one_line(tmp_path, script):
    (tmp_path / "empty").mkdir()
    half = tmp_path / "half" / "abc"
    half.mkdir(parents=True)
    (half / "config.yaml").write_text("seed: 0\n")
    for name, told in (
        ("nowhere", "nowhere: no such folder"),
        ("empty", "empty: holds no runs records"),
        ("half", "half: none of its 1 runs has finished"),
    ):
        refused(command(f"analysis/{script}.py", str(tmp_path / name)), told)


def test_one_run_leaves_one_folder(tmp_path):
    first = train(tmp_path, "network.depth=8", "network.skip=false", *QUICK)
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""  # no bar off a terminal
    folder = Path(first.stdout.split()[-1])
    assert folder.parent == tmp_path / "scratch"
    assert len(read_records(folder, "steps")) == 6
    again = train(tmp_path, "network.depth=8", "network.skip=false", *QUICK)
    assert "not done again" in again.stdout
    assert list((tmp_path / "scratch").iterdir()) == [folder]


def test_a_study_narrowed_on_the_command_line(tmp_path):
    """Two workers, its own grid narrowed, the table and the figures at its end."""
    done = train(tmp_path, "study=degradation", "network.depth=8,14", "seed=0", *QUICK)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "4 runs: 4 finished" in done.stdout
    study = tmp_path / "degradation"
    assert "| depth | plain, training error % |" in (study / "tables/degradation.md").read_text()
    runs = read_runs(tmp_path / "degradation")
    assert sorted(map(tuple, runs[["network_depth", "network_skip", "seed"]].to_numpy())) == [
        (depth, skip, 0) for depth in (8, 14) for skip in (False, True)
    ]
    figures = [*study.glob("figures/*.png"), *study.glob("figures/*.pdf")]
    assert len(figures) == 26
    assert all(figure.stat().st_size > 5000 for figure in figures)
    told = [line for line in done.stdout.splitlines() if not line.startswith("note:")]
    assert told[-5] == "drawing figures of degradation: 6 analyses"
    assert told[-4].startswith("answer: At depth 14, plain networks end at ")
    assert "Verdict: too few seeds at depth 8, 14." in told[-4]
    assert told[-3] == f"report: {study / 'report.html'}"
    assert told[-2].startswith(f"tables: {study / 'tables'} (6); figures: {study / 'figures'} (13)")
    assert told[-1] == "next: the same command with seed=0,1,2, for a claim"
    again = train(tmp_path, "study=degradation", "network.depth=8,14", "seed=0", *QUICK)
    assert "4 runs: 4 had ended before" in again.stdout
    assert "drawing figures" not in again.stdout  # made of these records before
    assert 1e5 < (tmp_path / "degradation" / "report.html").stat().st_size < 2e6
    kept = (tmp_path / "degradation" / "commands.txt").read_text().splitlines()
    assert len(kept) == 1
    assert kept[0].startswith("gradflow train study=degradation")


@pytest.mark.slow
def test_a_failing_analysis_fails_the_command(tmp_path):
    """Every run of the study diverges, so there is no table to make."""
    done = train(
        tmp_path,
        "study=degradation",
        "network.depth=8",
        "seed=0",
        *QUICK[:3],
        "optimizer.learning_rate=1e30",
        "steps=40",
        "study.analysis=[degradation]",
        "hydra/launcher=basic",
    )
    assert done.returncode == 1
    told = "degradation: every run of the study diverged; try a lower learning rate"
    assert f"error: {told}" in done.stderr
    assert "error: the analysis failed; the records in" in done.stderr
    assert f"<li>not shown: {told}</li>" in (tmp_path / "degradation/report.html").read_text()
    assert "Traceback" not in done.stderr


def test_a_diverging_run_is_a_result(tmp_path):
    done = train(
        tmp_path, "network.depth=8", "optimizer.learning_rate=1e30", *QUICK[:3], "steps=40"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("diverged")


def test_download_without_the_extra_says_how(tmp_path):
    pytest.importorskip("torch")
    try:
        import datasets  # noqa: F401
    except ImportError:
        done = command("experiments/download.py", "data=cifar10", f"data.folder={tmp_path}")
        refused(done, "pip install 'gradflow-suite[hub]'")
    else:
        pytest.skip("the hub extra is installed")


def test_download_is_for_cifar10_only():
    refused(command("experiments/download.py"), "data.name=digits: only data=cifar10 is downloaded")


def test_a_sweep_of_values_is_composed_once_and_equal_to_composing_each(monkeypatch):
    """The launcher's shortcut against Hydra's own composition, over values, groups and lists."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.utils import setup_globals
    from hydra.types import HydraContext

    from gradflow.sweeps.job_configs import JobComposer

    setup_globals()
    register_schema()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        base = hydra.compose_config("run", [], run_mode=RunMode.MULTIRUN)
        composed = []
        loader = hydra.config_loader
        whole = loader.load_sweep_config
        monkeypatch.setattr(
            loader, "load_sweep_config", lambda c, o: composed.append(o) or whole(c, o)
        )
        context = HydraContext(config_loader=loader, callbacks=None)
        composer = JobComposer(context, base)
        jobs = [
            ["network.depth=8", "network.skip=true", "seed=1"],
            ["network.depth=110", "network.skip=false", "seed=2"],
            ["network=mlp", "network.depth=8", "network.widths=[8,9,10]"],
            ["network=mlp", "network.depth=6", "network.widths=[4,4]"],
            ["data.subset=null", "optimizer.clip_norm=0.5", "steps=7"],
            ["study=he2015", "network.depth=20", "schedule.milestones=[3,5]", "seed=3"],
            ["study=he2015", "network.depth=20", "schedule.milestones=[4]", "seed=3"],
            ["network.depth=20", "hydra.launcher.workers=1", "dtype=float64"],
        ]
        for index, job in enumerate(jobs):
            quick = OmegaConf.to_container(composer.compose(job, index), resolve=False)
            slow = OmegaConf.to_container(compose("run", overrides=job), resolve=False)
            quick.pop("hydra")
            assert quick == slow
            typed = composer.typed(job)
            assert typed == to_config(composer.compose(job, index), RunConfig)
            assert run_id(typed, "data") == run_id(
                to_config(composer.compose(job, index), RunConfig), "data"
            )
        assert len(composed) == 3  # once for each choice of groups
        for wrong, told in {
            "network.depth=seven": "network.depth: ",
            "network.depth=7": "network.depth=7: ",
            "network.dpeth=8": "network.dpeth: no such key; did you mean depth",
            "seed=-1": "seed=-1: must be >= 0",
        }.items():
            with pytest.raises((GradflowError, OmegaConfBaseException)) as caught:
                composer.typed([wrong])
            assert text_of(caught.value).startswith(told)

        def with_variance(config, overrides):  # of a study's file
            found = whole(config, overrides)
            found.network.weight_variance = 1.5
            return found

        monkeypatch.setattr(loader, "load_sweep_config", with_variance)
        composer = JobComposer(context, base)
        assert composer.typed(["network.initialization=gaussian"]).network.weight_variance == 1.5
        with pytest.raises(GradflowError, match="weight_variance=1.5: is read by"):
            composer.typed(["network.initialization=xavier"])
