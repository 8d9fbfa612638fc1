"""make paper: every figure and table of a study, and only what changed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from gradflow.analysis import make
from gradflow.analysis.figures import style
from gradflow.analysis.figures.plotted_data import drawn
from gradflow.core.errors import GradflowError
from gradflow.runs.execute import execute
from tests.support.configs import name_analysis, small_config

ROOT = Path(__file__).parents[2]


@pytest.fixture
def study(study_folder, tmp_path):
    """A copy of the small study whose configs name the analysis that ends it."""
    copy = tmp_path / "outputs" / "small"
    shutil.copytree(study_folder, copy, ignore=shutil.ignore_patterns("figures", "tables"))
    name_analysis(copy, "degradation")
    return copy


def test_what_is_up_to_date_is_not_made_again(study):
    first = make.make(study, ["png"], "web").paths
    assert sorted(path.name for path in first) == [
        "batch_statistics.csv", "batch_statistics.md", "batch_statistics.tex",
        "degradation.csv", "degradation.md", "degradation.png", "degradation.tex",
        "training_curves.png",
    ]  # fmt: skip
    assert make.make(study, ["png"], "web").paths == []
    assert {path.suffix for path in make.make(study, ["svg"], "web").paths} >= {".svg"}
    (study / "figures" / "degradation.png").unlink()
    assert make.make(study, ["png"], "web").paths == first
    execute(small_config(study.parent, seed=2, study="small"))
    assert make.make(study, ["png"], "web").paths == first


def test_venues_have_their_widths(study):
    inches = {}
    for venue in ("web", "neurips", "icml", "ieee"):
        with style.figure(1, 2, height=2.5, venue=venue) as (made, _):
            assert isinstance(made, Figure)
            width, height = made.get_size_inches()
            inches[venue] = round(float(width), 2)
            assert height / width == pytest.approx(2.5 / 6.75)
    assert inches["neurips"] == 5.5  # NeurIPS' style file: text width of 5.5 inches
    assert inches["icml"] == 6.75  # ICML's: 6.75 inches for both columns
    assert inches["web"] == 6.75
    assert 6.5 < inches["ieee"] < 7.2
    made = make.make(study, ["pdf"], "neurips").paths
    assert study / "figures" / "neurips" / "degradation.pdf" in made


def test_pdf_fonts_are_embedded(study):
    for venue in ("web", "neurips"):
        [path] = [p for p in make.make(study, ["pdf"], venue).paths if p.name == "degradation.pdf"]
        data = path.read_bytes()
        assert data.count(b"/FontFile2") > 0, venue  # TrueType programs, inside the file
        assert b"/Type3" not in data


def test_what_a_figure_draws_is_beside_it(study):
    make.make(study, ["png"], "web")
    rows = pd.read_csv(study / "figures" / "degradation.csv")
    lines = rows[(rows.panel == "a") & (rows.kind == "line")]
    table = pd.read_csv(study / "tables" / "degradation.csv")
    for twin in ("plain", "residual"):
        means = table[f"{twin}, training error %"]
        assert np.isin(means.round(9), lines.y.round(9)).all()  # drawn and tabled alike


def test_lines_bars_bands_and_cells_are_rows():
    figure, ax = plt.subplots()
    ax.plot([1, 2], [3, 4], label="up")
    ax.fill_between([0, 1], [0, 0], [1, 1])
    ax.errorbar([5], [6], yerr=[[1], [2]])
    ax.pcolormesh(np.array([[7.0, np.nan]]))
    rows = drawn(figure)
    plt.close(figure)
    assert rows[rows.label == "up"][["x", "y"]].to_numpy().tolist() == [[1, 3], [2, 4]]
    assert rows[rows.kind == "bar"].y.tolist() == [5, 8]
    cells = rows[rows.kind == "cell"]
    assert cells[["x", "y"]].to_numpy().tolist() == [[0.5, 0.5], [1.5, 0.5]]
    assert cells.value.iloc[0] == 7
    assert np.isnan(cells.value.iloc[1])
    assert len(rows[rows.kind == "band"]) > 3


def test_the_folder_of_all_studies(study):
    other = study.parent / "other"
    shutil.copytree(study, other)
    assert make.studies_in(study.parent) == [other, study]
    assert make.studies_in(study) == [study]
    with pytest.raises(GradflowError, match="no such folder"):
        make.studies_in(study / "nowhere")
    (study.parent / "empty").mkdir()
    with pytest.raises(GradflowError, match="holds no study that has a finished run"):
        make.studies_in(study.parent / "empty")


def test_mistakes_are_one_line(study):
    for arguments, message in (
        ([str(study), "--style", "nips"], "error: --style nips: choose among web, neurips"),
        ([str(study), "--format", "gif"], "error: --format gif: choose among png, pdf, svg"),
    ):
        done = subprocess.run(
            [sys.executable, str(ROOT / "analysis" / "make.py"), *arguments],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert done.stderr.strip().startswith(message)
        assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff", b'{"degradation web png": 5}', b'{"x web png": {"files": "x"}}'],
)
def test_a_damaged_note_of_what_was_made_is_not_believed(tmp_path, content):
    (tmp_path / make.MADE).write_bytes(content)
    assert make.made_before(tmp_path) == {}


def test_a_note_of_what_was_made_names_files_of_the_study_alone(tmp_path):
    """Those of records that are no more are deleted."""
    entries = {
        name: {"stamp": "x", "files": [file]}
        for name, file in (("a", "figures/a.png"), ("b", "../b.png"), ("c", "/etc/c"))
    }
    (tmp_path / make.MADE).write_text(json.dumps(entries))
    assert list(make.made_before(tmp_path)) == ["a"]
