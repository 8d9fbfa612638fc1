"""Figures and tables: right numbers, no mutation, no torch, and where they came from."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.special
import scipy.stats

from gradflow.analysis.figures import plots, style
from gradflow.analysis.output import Output
from gradflow.analysis.studies import (
    degradation,
    gradient_highway,
    he2015,
    health,
    ledger,
    updates,
    verdict,
)
from gradflow.analysis.study import at, load_study
from gradflow.config.probes import OffConfig
from gradflow.core.errors import GradflowError
from gradflow.records import RecordWriter, read_records
from gradflow.runs.execute import execute
from gradflow.verdict.gradient import end_to_end
from tests.support.configs import small_config

ROOT = Path(__file__).parents[2]


@pytest.fixture
def study(study_folder):
    return load_study(study_folder)


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def test_analysis_never_imports_torch():
    code = (
        "import sys; from gradflow.analysis.studies import degradation, gradient_highway, ledger; "
        "print('torch' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


def test_a_study_names_its_twins(study):
    assert study.runs.groupby(["depth", "twin"]).seed.apply(list).to_dict() == {
        (depth, twin): [0, 1] for depth in (8, 14) for twin in ("plain", "residual")
    }
    assert study.notes == ()


def drawings(study):
    layers = study.records("layers", ["step", "layer_index", "grad_norm"])
    blocks = study.records("blocks", ["step", "block_index", "skip_share", *ledger.PARTS])
    first = at(blocks, "first").dropna(subset="skip_share")
    steps = study.records("steps", ["step", "loss"])
    runs = study.runs.assign(error=study.runs.final_train_error * 100)
    runs = runs.merge(degradation.late_losses(steps), on="run_id")
    return [
        (degradation.error_against_depth, (runs,)),
        (degradation.loss_against_depth, (runs,)),
        (degradation.training_curves, (steps[steps.twin == "plain"],)),
        (
            partial(plots.profile, x="layer_index", y="grad_norm"),
            (layers[layers.step == 0],),
        ),
        (ledger.share_by_block, (first,)),
        (ledger.share_by_depth, (ledger.mean_shares(first), ledger.path_shares(study))),
        (ledger.parts_by_block, (first,)),
        (
            gradient_highway.ratio_against_depth,
            (end_to_end(blocks[blocks.step == 0]),),
        ),
    ]


def test_plots_return_their_axes_and_leave_the_frame_alone(study, ax):
    for plot, (frame, *rest) in drawings(study):
        before = frame.copy(deep=True)
        assert plot(frame, *rest, ax=ax) is ax
        pd.testing.assert_frame_equal(frame, before)


def test_error_curve_shows_the_median_over_seeds(study, ax):
    runs = study.runs.assign(error=study.runs.final_train_error * 100)
    degradation.error_against_depth(runs, ax=ax)
    drawn = {line.get_label(): line.get_xydata() for line in ax.get_lines()}
    for twin in ("plain", "residual"):
        expected = [
            [d, runs[(runs.depth == d) & (runs.twin == twin)].error.median()] for d in (8, 14)
        ]
        np.testing.assert_allclose(drawn[twin], expected)


def test_late_loss_is_the_mean_of_the_last_ten_steps():
    steps = pd.DataFrame({"run_id": ["a"] * 20, "step": range(20), "loss": np.arange(20.0)})
    losses = degradation.late_losses(steps.sample(frac=1, random_state=0))
    assert losses.late_loss.tolist() == [14.5]


def test_shares_of_runs_and_moments_by_hand():
    frame = pd.DataFrame(
        {
            "run_id": ["a"] * 4 + ["b"] * 2,
            "step": [0, 0, 7, 7, 2, 2],
            "skip_share": [0.2, 0.4, 0.5, 0.7, -0.5, 0.1],
        }
    ).assign(depth=8, twin="residual", seed=0)
    first, last = (ledger.mean_shares(at(frame, m)).set_index("run_id").skip_share
                   for m in ("first", "last"))  # fmt: skip
    assert first.to_dict() == pytest.approx({"a": 0.3, "b": -0.2})
    assert last.to_dict() == pytest.approx({"a": 0.6})  # b is measured at one step alone


def test_the_ledger_of_plain_networks_is_zero_and_of_residual_ones_not(study):
    blocks = study.records("blocks", ["step", "skip_share"]).dropna(subset="skip_share")
    assert (blocks[blocks.twin == "plain"].skip_share == 0).all()
    assert (blocks[blocks.twin == "residual"].skip_share != 0).all()


def test_a_study_without_a_ledger_is_refused(tmp_path):
    config = small_config(tmp_path, probe=OffConfig(), details=OffConfig(), study="bare")
    execute(config)
    with pytest.raises(GradflowError, match="bare: holds no blocks records"):
        ledger.analyze(Output(load_study(tmp_path / "bare")))


def test_table_has_the_paired_difference(study):
    table = str(degradation.error_table(study.runs))
    runs = study.runs[study.runs.depth == 14].sort_values("seed")
    plain, residual = (
        100 * runs[runs.twin == twin].final_train_error.to_numpy() for twin in ("plain", "residual")
    )
    gap = plain - residual
    share = (gap + 100) / 200  # of the range of a difference: -100 to 100 points
    error = scipy.stats.sem(share) / (share.mean() * (1 - share.mean()))
    reach = scipy.stats.t.ppf(0.975, 1) * error
    place = scipy.special.logit(share.mean()) + np.array([-reach, reach])
    low, high = 200 * scipy.special.expit(place) - 100
    [row] = [line for line in table.splitlines() if line.startswith("| 14 ")]
    row = row.replace("**", "").replace(" *", "")  # the marks of best and significant
    assert row == (
        f"| 14 | {plain.mean():.1f} | {residual.mean():.1f} "
        f"| {gap.mean():.1f} ({low:.1f} ... {high:.1f}) | 2 |"
    )


def test_the_table_marks_the_lower_error_and_what_is_significant():
    """Gaps of 0, 1, 2 points at depth 8: t = sqrt(3), p = .11; of 10, 11, 12 at depth 14:
    p = .0014, and twice that (Holm)."""
    rows = [
        {"depth": depth, "seed": seed, "twin": twin, "final_train_error": error}
        for depth, least in ((8, 0.0), (14, 0.1))
        for seed in range(3)
        for twin, error in (("plain", least + seed / 100), ("residual", 0.0))
    ]
    table = degradation.error_table(pd.DataFrame(rows))
    assert table.significant == {(1, degradation.GAP)}
    assert table.best == {(0, "residual, training error %"), (1, "residual, training error %")}
    assert "11.0 (8.5 ... 13.5) *" in str(table)


def test_unequal_numbers_of_seeds_are_stated_as_a_range(study):
    assert study.provenance.startswith(f"{study.folder.name}: 8 runs, 2 seeds; code ")
    runs = study.runs[(study.runs.depth == 8) | (study.runs.seed == 0)]
    assert replace(study, runs=runs).seeds == "1 to 2 seeds"
    assert replace(study, runs=runs[runs.seed == 0]).seeds == "1 seed"
    table = degradation.error_table(runs)
    assert [row["seeds"] for row in table.rows] == [2, 1]


def test_errors_beside_those_of_the_paper():
    rows = [
        {"depth": depth, "seed": seed, "twin": twin, "error": 10.0 + seed, "n_parameters": 67_930,
         "data_name": "digits", "network_width": 8, "steps": 120, "data_batch_size": 64}
        for depth in (8, 20) for seed in (0, 1) for twin in ("plain", "residual")
    ]  # fmt: skip
    lines = str(he2015.error_table(pd.DataFrame(rows))).splitlines()
    # The logit of .105, -2.143, +- 12.706 * 0.005 / (.105 * .895), which is 0.676.
    here = "10.5 (5.6 ... 18.7)"
    assert lines[2] == f"| 8 | {here} | - | {here} | - | 0.0679 | - | 2 |"
    assert lines[3] == f"| 20 | {here} | 9.0 | {here} | 8.75 | 0.0679 | 0.27 | 2 |"


def test_networks_that_the_paper_has_not_are_refused(study):
    with pytest.raises(GradflowError, match="holds no network of He et al. 2015"):
        he2015.analyze(Output(study))  # depths 8 and 14


def test_every_figure_says_where_it_came_from(study, tmp_path):
    copy = tmp_path / "small"
    shutil.copytree(study.folder, copy)
    output = Output(load_study(copy))
    for module in (degradation, gradient_highway, ledger, updates, health):
        module.analyze(output)
    figures = [path for path in output.paths if path.suffix == ".png"]
    assert len(figures) == 13
    for path in figures:
        facts = json.loads(path.with_suffix(".json").read_text())
        assert facts["runs"] == sorted(study.runs.run_id)
        assert facts["code_versions"] == list(study.runs.code_version.unique())
        assert "seeds" in facts["caption"]


def test_figures_are_byte_identical_when_made_twice(study_folder, tmp_path):
    copy = tmp_path / "small"
    shutil.copytree(study_folder, copy)
    contents = []
    for _ in range(2):
        output = Output(load_study(copy), ["png", "pdf", "svg"])
        degradation.analyze(output)
        contents.append({path: path.read_bytes() for path in output.paths})
    assert contents[0] == contents[1]


def test_settings_are_never_mixed_and_none_is_left_out(study_folder, tmp_path):
    copy = tmp_path / "small"
    shutil.copytree(study_folder, copy)
    execute(small_config(tmp_path, steps=9, study="small"))
    eight, nine = load_study(copy).split()
    assert (dict(eight.setting), eight.others) == ({"steps": 8}, ({"steps": 9},))
    assert (len(eight.runs), nine.runs.steps.tolist()) == (8, [9])
    [whole] = load_study(copy).split(["steps"])
    assert len(whole.runs) == 9
    for where in ({"steps": "9"}, {"network.depth": "14", "network_skip": "true"}):
        chosen = load_study(copy, where)
        assert len(chosen.runs) == (1 if "steps" in where else 2)
        assert [str(value) for value in chosen.setting.values()] == [
            text.capitalize() for text in where.values()
        ]
    with pytest.raises(GradflowError, match="--where steps=7: no such run; there are 8, 9"):
        load_study(copy, {"steps": "7"})
    with pytest.raises(GradflowError, match="--where stepz: no such column"):
        load_study(copy, {"stepz": "7"})


def test_unfinished_diverged_and_older_runs_are_noted(study_folder, tmp_path):
    copy = tmp_path / "small"
    shutil.copytree(study_folder, copy)
    (copy / "begun").mkdir()
    (copy / "begun" / "config.yaml").write_text("seed: 9\n")
    row = read_records(study_folder, "runs").iloc[0].to_dict() | {
        "seed": 7,
        "status": "diverged",
        "final_train_error": None,
        "final_test_error": None,
        "final_train_loss": None,
        "diverged_at": 3,
        "code_version": "0.0.1+old",
    }
    row = {k: (None if pd.isna(v) else v) for k, v in row.items() if k != "run_id"}
    with RecordWriter(copy / "odd", "odd") as writer:
        writer.add("runs", **row)
    (copy / "odd" / "config.yaml").write_text("seed: 7\n")
    notes = load_study(copy).notes
    assert notes[0] == "1 runs have not finished and are left out"
    assert notes[1].startswith("runs of 2 code versions: 0.0.1+old")
    assert notes[2] == "1 runs diverged and have no final error"


def test_many_damaged_files_leave_room_for_the_figure(study_folder, tmp_path):
    copy = tmp_path / "damaged"
    shutil.copytree(study_folder, copy)
    run = next(copy.glob("*/runs")).parent
    parts = [part for table in ("blocks", "evaluations", "layers", "steps")
             for part in (run / table).glob("*.parquet")]  # fmt: skip
    for part in parts:
        part.write_bytes(b"not parquet")
    notes = load_study(copy).notes
    assert sum("not a readable parquet file" in note for note in notes) == 3 < len(parts)
    assert f"{len(parts) - 3} more damaged files: gradflow status {copy} names them" in notes
    assert "1 runs with damaged records are left out" in notes


def test_a_study_of_diverged_runs_is_refused(study):
    runs = study.runs.assign(final_train_error=np.nan)
    with pytest.raises(GradflowError, match="every run of the study diverged"):
        degradation.error_table(runs)


def test_colours_differ_for_every_reader_and_in_grey():
    """Relative luminance (WCAG 2, definition): different enough to tell the twins apart in grey."""

    def luminance(color):
        channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    plain, residual = (luminance(style.COLORS[twin]) for twin in ("plain", "residual"))
    assert (max(plain, residual) + 0.05) / (min(plain, residual) + 0.05) > 1.3
    assert style.MARKERS["plain"] != style.MARKERS["residual"]


def test_the_reference_results_are_whole_and_what_readme_quotes():
    study = load_study(ROOT / "outputs" / "reference" / "he2015")
    assert sorted(study.runs.depth) == sorted([20, 32, 44, 56, 110] * 2 * 3)
    assert set(study.runs.steps_done) == {3900}
    layers = study.records("layers", ["step", "layer_index", "grad_norm"])
    for (depth, *_), measured in layers.groupby(["depth", "twin", "seed"]):
        assert (measured.groupby("step").layer_index.nunique() == depth).all()
        assert measured.grad_norm.gt(0).all()
    runs = study.runs.assign(error=100 * study.runs.final_test_error)
    quoted = (ROOT / "docs" / "tables" / "he2015" / "he2015.md").read_text()
    assert str(he2015.error_table(runs)) in quoted


def test_figure_and_verdict_have_one_end_to_end_ratio(study_folder, tmp_path):
    copy = tmp_path / "small"
    shutil.copytree(study_folder, copy)
    output = Output(load_study(copy))
    gradient_highway.analyze(output)
    verdict.analyze(output)
    points = pd.read_csv(copy / "figures" / "gradient_ratio.csv")
    numbers = pd.read_csv(copy / "tables" / "verdict_numbers.csv")
    for panel, moment in (("a", "first step"), ("b", "last step")):
        for twin in ("plain", "residual"):
            drawn = points[(points.panel == panel) & (points.label == twin)]
            judged = numbers[f"gradient's ratio, {twin}, {moment}"]
            np.testing.assert_allclose(drawn.y, judged, rtol=1e-9)


def test_one_twin_and_no_ratio_are_drawn_all_the_same(study_folder, tmp_path):
    copy = tmp_path / "small"
    shutil.copytree(study_folder, copy)
    output = Output(load_study(copy, {"network_skip": "True"}))
    for module in (gradient_highway, updates, health):
        module.analyze(output)
    points = pd.read_csv(copy / "figures" / "gradient_heatmap--skip-true.csv")
    assert set(points.panel) >= {"b"}
    assert "a" not in set(points[points.kind == "cell"].panel)
    blocks = output.study.records("blocks", ["step", "block_index", "input_grad_norm"])
    gradient_highway.draw_ratios(output, end_to_end(blocks.assign(input_grad_norm=0.0)))
    points = pd.read_csv(copy / "figures" / "gradient_ratio--skip-true.csv")
    assert set(points.y.dropna()) == {1}  # the line where the ends are equal
    assert (points.kind == "lost").sum() == output.study.runs.shape[0] * 2  # at both moments


def test_errors_with_running_averages_and_batch_statistics_by_hand():
    """The last evaluation of the training images; a second seed is averaged."""
    keys = {"depth": 8, "twin": "plain", "split": "train"}
    rows = [
        {"run_id": "a", "step": 4, "error": 0.9, "batch_error": 0.9, **keys},
        {"run_id": "a", "step": 8, "error": 0.5, "batch_error": 0.1, **keys},
        {"run_id": "a", "step": 8, "error": 1.0, "batch_error": 0.0, **keys | {"split": "test"}},
        {"run_id": "b", "step": 8, "error": 0.3, "batch_error": 0.3, **keys},
    ]
    lines = str(degradation.batch_table(pd.DataFrame(rows))).splitlines()
    assert lines[2] == "| 8 | 40.0 | 20.0 | 40.0 | - | - | - |"
