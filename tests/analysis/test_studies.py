"""Every study composes, at both scales, and runs in small to its tables and figures."""

import math
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext

from gradflow.analysis.make import make
from gradflow.analysis.studies import equal_compute, he2016, initialization, plain_vs_residual
from gradflow.config import RunConfig
from gradflow.config.hydra_bridge import register_schema, to_config
from gradflow.config.run_id import run_id
from gradflow.core.errors import GradflowError
from gradflow.runs.execute import execute
from gradflow.sweeps import grid as sweeper
from gradflow.sweeps.grid import written
from gradflow.sweeps.job_configs import JobComposer
from tests.support.figures import checked

CONF = Path(__file__).parents[2] / "conf"
STUDIES = sorted(path.stem for path in (CONF / "study").glob("*.yaml"))
SMALL = (
    "network.width=4", "data.subset=64", "data.batch_size=32", "evaluation.images=64", "seed=0,1"
)  # fmt: skip
DEPTHS = {  # a depth that each of its networks can have; 8 for all others
    "beyond_cnn": "22",
    "depth_1000": "20",
    "degradation": "8,14",
    "he2015": "20",  # one of the paper's
    "equal_compute": None,  # swept together with its steps
    "learning_rate": "8,14",
    "modern_residuals": "6,10",
    "lesion": "20,26",  # blocks that may change places are two of a stage
}
SMALLER = {
    "he2015": ("data=digits",),
    "identity": ("network.width=128", "diagnostic.images=32"),  # room for the image twice
    "landscape": ("diagnostic.line=5", "diagnostic.plane=5", "diagnostic.images=16"),
    "lesion": ("diagnostic.images=32", "diagnostic.samples=2"),
    "modern_residuals": ("network.width=8", "network.heads=2", "probe.steps=[0,3]"),
    "paths": ("diagnostic.samples=2",),
    "isometry": ("network.width=8", "diagnostic.images=32"),
    "signal_propagation": ("data.batch_size=8,32",),
    "shattered_gradients": ("network.width=32", "diagnostic.points=16"),
}


# A scale's data are images, and its optimizer and schedule those of the paper: not for a text, nor
# for a study of optimizers and schedules.
WITHOUT_SCALE = ("modern_residuals", "optimizers")


@cache
def jobs_of(study: str, *arguments: str, all_values: bool = False) -> list[RunConfig]:
    """The config of every run that `train.py study=<study> <arguments>` would do.

    all_values: of so few of them that every value of every key is still there.
    """
    given = [f"study={study}", *arguments]
    register_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        alone = [text for text in given if "," not in text]  # a sweep is for the jobs
        config = compose("run", overrides=alone, return_hydra_config=True)
        context = HydraContext(GlobalHydra.instance().config_loader(), Callbacks())
        parser = OverridesParser.create(context.config_loader)
        params = parser.parse_overrides(written(config.hydra.sweeper.params))
        variants = config.hydra.sweeper.variants
        jobs = sweeper.jobs_of(parser, params, variants, parser.parse_overrides(given))
        if all_values:
            seen: set[str] = set()
            jobs = [job for job in jobs if not seen.issuperset(job) and not seen.update(job)]
        composer = JobComposer(context, config)
        return [to_config(composer.compose(job, i), RunConfig) for i, job in enumerate(jobs)]


# The other studies: test_every_job_of_a_study_is_another_valid_run, and the commands of the pages.
@pytest.mark.parametrize("study", ["degradation", "initialization", "isometry"])
def test_every_value_of_a_study_is_valid(study):
    configs = jobs_of(study, all_values=True)
    assert {config.study.name for config in configs} == {study}
    for script in configs[0].study.analysis:
        assert (CONF.parent / "analysis" / f"{script}.py").exists()


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_every_job_of_a_study_is_another_valid_run(study):
    configs = jobs_of(study)
    assert len({run_id(config, "data") for config in configs}) == len(configs) > 1
    if study not in WITHOUT_SCALE:
        assert len(jobs_of(study, "scale=paper")) == len(configs)


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_every_study_runs_in_small_to_its_figures(study, tmp_path):
    """All of its runs in this process, fewer layers, channels, images and steps; then every
    script that it names."""
    depth = DEPTHS.get(study, "8")
    own = SMALLER.get(study, ())
    set_here = {text.partition("=")[0] for text in own}
    smaller = [text for text in SMALL if text.partition("=")[0] not in set_here]
    smaller += [*own, *(() if depth is None else (f"network.depth={depth}",))]
    for config in jobs_of(study, *smaller):
        few = {"steps": min(config.steps, 4), "output_root": str(tmp_path)}
        if study == "equal_compute":
            few["steps"] = max(1, config.steps // 60)
        execute(replace(config, **few))
    with checked(refuse=True):  # in the processes that draw
        made = make(tmp_path / study, ["png"], "web")
    assert made.failures == []
    assert {path.suffix for path in made.paths} >= {".png", ".md", ".tex", ".csv"}
    for path in made.paths:
        assert path.stat().st_size > (20_000 if path.suffix == ".png" else 60), path


def test_variants_set_several_keys_at_once():
    networks = {c.network for c in jobs_of("he2016_shortcuts", all_values=True)}
    halves = [n for n in networks if n.shortcut_scale == 0.5]
    assert sorted(n.branch_scale for n in halves) == [0.5, 1]
    assert all(n.branch_scale == 1 for n in networks if n.shortcut_scale == 1)


def test_the_command_line_narrows_variants():
    # Depth 56 had four trainings, the others two each: with one number of steps, one each.
    assert len(jobs_of("equal_compute", "steps=7", "seed=0")) == 6


def test_variants_are_crossed_and_counted_once():
    parser = OverridesParser.create()
    params = parser.parse_overrides(["seed=0,1", "steps=5"])
    variants = [{"network.skip": False}, {"steps": "6,7", "network.widths": None}]
    found = sweeper.jobs_of(parser, params, variants, [])
    assert found[:2] == [
        ["seed=0", "steps=5", "network.skip=False"],
        ["seed=1", "steps=5", "network.skip=False"],
    ]
    assert len(found) == 6
    assert found[-1] == ["seed=1", "steps=7", "network.widths=null"]
    given = parser.parse_overrides(["steps=9", "seed=3"])
    assert sweeper.jobs_of(parser, params, [{"steps": 1}, {"steps": 2}], given) == [
        ["seed=3", "steps=9"]
    ]
    assert len(sweeper.jobs_of(parser, params, None, [])) == 2


def test_what_is_given_chooses_among_the_values_of_variants():
    parser = OverridesParser.create()
    variants = [{"network.depth": "110,56", "seed": "0,1,2"}, {"network.depth": 8, "seed": "0,3"}]

    def jobs(*given):
        return sweeper.jobs_of(parser, [], variants, parser.parse_overrides(list(given)))

    assert jobs("network.depth=56") == [["network.depth=56", f"seed={seed}"] for seed in range(3)]
    assert jobs("seed=3") == [["network.depth=8", "seed=3"]]
    assert jobs("network.depth=8,110", "seed=0") == [
        ["network.depth=110", "seed=0"],
        ["network.depth=8", "seed=0"],
    ]
    # A value that no variant has is one for all of them, as are those given beside it.
    assert jobs("seed=7") == [[f"network.depth={depth}", "seed=7"] for depth in (110, 56, 8)]
    assert len(jobs("network.depth=8,14")) == 2 * 4


def test_the_degradation_study_has_seeds_to_spare():
    """Paired by seed: twins share them, and a deeper network's are among a shallower one's."""
    grid = yaml.safe_load((CONF / "study" / "degradation.yaml").read_text())["hydra"]["sweeper"]
    parser = OverridesParser.create()
    jobs = sweeper.jobs_of(
        parser, parser.parse_overrides(written(grid["params"])), grid["variants"], []
    )
    seeds: dict[tuple[int, str], set[str]] = {}
    for job in jobs:
        keys = dict(text.split("=") for text in job)
        seeds.setdefault((int(keys["network.depth"]), keys["network.skip"]), set()).add(
            keys["seed"]
        )
    depths = sorted({depth for depth, _ in seeds})
    for shallow, deep in pairwise(depths):
        assert seeds[deep, "False"] <= seeds[shallow, "False"]
    for depth in depths:
        assert seeds[depth, "False"] == seeds[depth, "True"]
        assert len(seeds[depth, "False"]) >= (5 if depth <= 32 else 3)
    readme = (CONF.parent / "README.md").read_text()
    assert f"# {len(jobs)} networks on real images" in readme


def test_the_papers_scale_keeps_the_weights_that_a_study_draws_by_their_variance():
    paper = jobs_of("signal_propagation", "scale=paper", all_values=True)
    assert {c.network.initialization for c in paper} == {"gaussian"}
    assert {c.network.weight_variance for c in paper} == {1, 2, 3}


@pytest.mark.parametrize("study", ["he2016_activations", "learning_rate"])
def test_the_papers_scale_replaces_all_but_what_is_swept(study):
    small = jobs_of(study, all_values=True)
    paper = jobs_of(study, "scale=paper", all_values=True)
    assert {c.steps for c in paper} == {64_000}
    assert {c.data.name for c in paper} == {"cifar10"}
    rates = [c.optimizer.learning_rate for c in paper]
    if study == "he2016_activations":
        assert {c.network.depth for c in paper} == {110}
        assert set(rates) == {0.1}
    else:
        assert [c.network.depth for c in paper] == [c.network.depth for c in small]
        assert rates == [c.optimizer.learning_rate for c in small]


def errors_of(*rows):
    """Runs by hand: (columns, training error, or None where it diverged)."""
    frame = pd.DataFrame([row for row, _ in rows])
    error = pd.Series([np.nan if error is None else error for _, error in rows])
    return frame.assign(
        final_train_error=error,
        final_test_error=error,
        diverged_at=error.isna().replace(False, pd.NA),
    )


def test_rank_agreement_by_hand():
    rows = [he2016.Row(name, paper) for name, paper in zip("abcd", (5, 6, 7, np.inf), strict=True)]
    runs = pd.DataFrame({"row": list("abcd"), "test error": [1.0, 4.0, 3.0, 90.0]})
    # Ranks 1 3 2 4 against 1 2 3 4: 1 - 6 * 2 / (4 * 15); one pair of six is the other way.
    sentence = he2016.agreement(runs, rows)
    assert "rho 0.80 over 4 rows; 5 of 6 pairs" in sentence


def test_rows_of_the_paper_name_runs_and_divergence_is_an_error():
    identity = {"network_skip": True, "network_shortcut": "A", "network_placement": "original",
                "network_shortcut_scale": 1.0, "network_branch_scale": 1.0,
                "network_gate_bias": -6.0, "depth": 110}  # fmt: skip
    runs = errors_of(
        (identity, 0.5),
        (identity | {"network_skip": False}, None),
        (identity | {"network_branch_scale": 0.7}, 0.1),
    )
    found = he2016.named(runs, he2016.table_of(runs))
    assert found.row.tolist() == ["identity", "plain (0 and 1)"]
    assert found["test error"].tolist() == [50, 100]
    table = str(he2016.error_table(found, he2016.SHORTCUTS))
    assert "| plain (0 and 1) | 100.0 | 100.0 (- ... -) | 1 | 1 | fail |" in table


def test_budgets_and_their_answer_by_hand():
    rows = [
        ({"depth": depth, "twin": twin, "seed": seed, "steps": steps, "macs": macs,
          "data_batch_size": 10}, error + 0.01 * seed)
        for depth, steps, macs, error in (
            (8, 60, 100.0, 0.0), (8, 600, 100.0, 0.1), (56, 60, 1000.0, 0.5)
        )
        for twin in ("plain", "residual")
        for seed in (0, 1)
    ]  # fmt: skip
    runs = equal_compute.with_cost(errors_of(*rows))
    assert sorted(runs.budget.unique()) == [0.1, 1]
    assert runs.cost.max() == 3 * 1000 * 10 * 60
    assert "plain 40.0 (40.0 ... 40.0)" in equal_compute.answer(runs)
    assert "| 8 | 600 | 1.00 | 10.5 (" in str(equal_compute.error_table(runs))
    with pytest.raises(GradflowError, match="no two depths have had an equal budget"):
        equal_compute.answer(runs[runs.depth == 56])


def test_kinds_are_named_by_what_differs():
    columns = dict.fromkeys(plain_vs_residual.SWEPT, None)
    one = {**columns, "network_name": "mlp", "network_norm": "none"}
    runs = pd.DataFrame([one, {**one, "network_norm": "batch"}])
    assert plain_vs_residual.kinds_of(runs).tolist() == ["no norm", "batch norm"]
    other = {**columns, "network_name": "diffusion_unet", "network_norm": "group"}
    assert plain_vs_residual.kinds_of(pd.DataFrame([one, other])).tolist() == [
        "mlp",
        "diffusion unet",
    ]


def test_diverged_runs_are_counted_in_the_table():
    rows = [
        ({"kind": "none", "depth": 8, "twin": twin, "seed": seed}, error)
        for twin, errors in {"plain": (0.5, 0.7), "residual": (0.1, None)}.items()
        for seed, error in enumerate(errors)
    ]
    runs = errors_of(*rows)
    runs["error"] = 100 * runs.final_train_error
    row = str(plain_vs_residual.error_table(runs)).splitlines()[2]
    assert row == "| none | 8 | 60.0 | 10.0 | 40.0 (- ... -) | 2 | 1 |"


def test_remedies_have_names():
    run = pd.Series({"network_norm": "none", "network_zero_last": False,
                     "network_scaling": "constant", "network_initialization": "fixup"})  # fmt: skip
    assert initialization.remedy_of(run) == "Fixup"
    assert initialization.remedy_of(run.replace("constant", "rezero")) == "SkipInit"
    assert initialization.remedy_of(run.replace("none", "batch")) == "batch norm"
    assert math.isnan(errors_of(({"seed": 0}, None)).final_train_error[0])
