"""The report: one page with the records' own numbers, that needs nothing from anywhere."""

import json
import re
import shutil

import pandas as pd
import pytest

from gradflow.analysis import export, settings
from gradflow.analysis.report import page as report
from gradflow.analysis.report.runs import labels
from gradflow.config.conf_folder import STUDIES
from gradflow.config.probes import OffConfig
from gradflow.core.errors import GradflowError
from gradflow.records import SCHEMAS, read_records
from gradflow.runs.execute import execute
from tests.support.configs import name_analysis, small_config


@pytest.fixture(scope="module")
def made(study_folder, tmp_path_factory):
    """A copy of the small study, with its report."""
    copy = tmp_path_factory.mktemp("outputs") / "small"
    shutil.copytree(study_folder, copy, ignore=shutil.ignore_patterns("figures", "tables"))
    name_analysis(copy, "degradation", "verdict")
    report.make_report(copy)
    return copy


def page_of(folder):
    return (folder / "report.html").read_text()


def test_nothing_is_fetched_from_anywhere(made):
    page = page_of(made)
    assert "default-src 'none'" in page  # the browser would refuse, whatever a script tried
    written = re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    assert not re.search(r"(src|href)=\"(?!data:|#)", written)


def test_what_it_shows(made):
    page = page_of(made)
    runs = read_records(made, "runs")
    for run in runs.itertuples():
        assert run.run_id in page
        assert f"<td>{100 * run.final_train_error:.1f}</td>" in page
    for heading in ("Verdict", "Figures", "Tables", "Runs", "How to reproduce"):
        assert re.search(rf"<h2[^>]*>{heading}</h2>", page), heading
    assert page.count('<img src="data:image/svg+xml') == 2
    assert f"<td>{runs.code_version[0]}</td>" in page
    assert "network.depth</th><td>8, 14</td>" in page
    share = 100 * read_records(made, "attempts").recording_share.median()
    assert f"training time spent measuring</th><td>{share:.0f} % (median;" in page


@pytest.mark.parametrize("study", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_question_of_a_study_names_no_command(study):
    """The commands that made a report's runs stand below it; those of the file may be others."""
    question = settings.question(study.stem)
    assert question
    assert "gradflow " not in question


def test_no_two_columns_of_the_runs_have_one_label():
    names = ["optimizer_name", "schedule_name", "network_skip", "probe_every", "evaluation_every"]
    assert list(labels([*names, "seed"]).values()) == [
        "optimizer", "schedule", "network", "probe every", "evaluation every", "seed",
    ]  # fmt: skip


def test_it_is_the_same_when_made_twice(made):
    first = page_of(made)
    assert report.make_report(made).paths == [made / "report.html"]  # figures are up to date
    assert page_of(made) == first


def test_profiles_hold_the_numbers_of_the_records(made):
    import base64

    import numpy as np

    page = page_of(made)
    [data] = re.findall(r'<script type="application/json" id="profiles">(.*?)</script>', page, re.S)
    data = json.loads(data)
    layers = read_records(made, "layers", where={"step": 0})
    runs = read_records(made, "runs")[["run_id", "network_depth", "network_skip"]]
    layers = layers.merge(runs, on="run_id")
    [depths] = [c["levels"] for c in data["controls"] if c["key"] == "network_depth"]
    checked = 0
    for profile in data["profiles"]:
        if profile["kind"] != "layers":
            continue
        own = layers[
            (layers.network_depth == int(depths[profile["at"][0]]))
            & (layers.network_skip == (profile["twin"] == "residual"))
        ]
        logs = np.log10(own.grad_norm.astype(float)).groupby(own.layer_index).mean()
        drawn = np.frombuffer(base64.b64decode(profile["steps"]["0"][0]), dtype="<f4")
        np.testing.assert_allclose(drawn, 10**logs, rtol=1e-5)
        checked += 1
    assert checked == 4


def test_a_changed_record_changes_table_figure_and_page(made, tmp_path):
    copy = tmp_path / "small"
    shutil.copytree(made, copy)
    before = {
        name: (copy / name).read_bytes()
        for name in ("report.html", "tables/degradation.md", "figures/degradation.csv")
    }
    [part, *_] = sorted(copy.glob("*/runs/*.parquet"))
    rows = pd.read_parquet(part).assign(final_train_error=0.987)
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pandas(rows, schema=SCHEMAS["runs"], preserve_index=False), part)
    part.parent.touch()
    report.make_report(copy)
    for name, content in before.items():
        assert (copy / name).read_bytes() != content, name
    assert "<td>98.7</td>" in page_of(copy)


def test_limitations_are_on_the_page_and_the_terminal(tmp_path, capsys):
    config = small_config(tmp_path, probe=OffConfig(), details=OffConfig(), study="bare")
    execute(config)
    (tmp_path / "bare" / "begun").mkdir()
    (tmp_path / "bare" / "begun" / "config.yaml").write_text("seed: 9\n")
    report.main([str(tmp_path / "bare")])
    notes = capsys.readouterr().out
    page = page_of(tmp_path / "bare")
    for note in (
        "1 runs have not finished and are left out",
        "one seed: there are no intervals, and no claim is made",
        "only residual networks: there are no plain twins to compare them with",
        "no gradients were recorded (probe=off), so there is no profile of them",
    ):
        assert f"note: bare: {note}" in notes
        assert f"<li>{note}</li>" in page


def test_a_study_of_which_nothing_has_ended(tmp_path, capsys):
    (tmp_path / "s" / "begun").mkdir(parents=True)
    (tmp_path / "s" / "begun" / "config.yaml").write_text("seed: 9\nstudy: {name: s}\n")
    page = tmp_path / "s" / "report.html"
    with pytest.raises(SystemExit) as ended:
        report.main([str(tmp_path / "s")])
    said = f"error: {tmp_path / 's'}: none of its 1 runs has finished; page: {page}"
    assert (ended.value.code, capsys.readouterr().out) == (said, "")
    assert "none of its 1 runs has finished" in page_of(tmp_path / "s")
    with pytest.raises(SystemExit, match="error: .*nowhere: no such folder"):
        report.main([str(tmp_path / "nowhere")])


def test_a_study_whose_only_run_failed_ends_in_one_error_line(tmp_path, monkeypatch):
    def fail(*_):
        raise ValueError("no luck")

    monkeypatch.setattr("gradflow.runs.execute.train", fail)
    with pytest.raises(ValueError, match="no luck"):
        execute(small_config(tmp_path, study="s"))
    with pytest.raises(SystemExit) as ended:
        report.main([str(tmp_path / "s")])
    assert ended.value.code == (
        f"error: {tmp_path / 's'}: none of its 1 runs has finished; 1 runs failed; "
        f"failed: ValueError: no luck; page: {tmp_path / 's' / 'report.html'}"
    )


def test_the_index_of_all_studies(made, tmp_path):
    shutil.copytree(made, tmp_path / "small")
    report.main([str(tmp_path)])
    index = (tmp_path / "index.html").read_text()
    assert '<a href="./small/report.html">small</a>' in index
    assert "<strong>Verdict:</strong> too few seeds at depth 8, 14" in index


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_export_round_trip(made, kind):
    paths = export.export(made, kind)
    assert {path.stem for path in paths} >= {"runs", "steps", "layers", "blocks", "evaluations"}
    [path] = [path for path in paths if path.stem == "steps"]
    rows = pd.read_csv(path) if kind == "csv" else pd.read_parquet(path)
    expected = read_records(made, "steps")
    assert len(rows) == len(expected)
    assert rows.loss.sum() == pytest.approx(float(expected.loss.sum()), rel=1e-6)
    assert set(rows.network_depth) == {8, 14}


def test_export_for_tensorboard(made):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    paths = export.export(made, "tensorboard")
    assert len(paths) == 8
    assert all(list(path.glob("events.out.tfevents.*")) for path in paths)


def test_an_unknown_export_is_one_line(made):
    with pytest.raises(GradflowError, match="--format xml: choose among csv, parquet, tensorboard"):
        export.export(made, "xml")


@pytest.mark.parametrize("content", [b"", b"\xff", b"a,b\n1,2\n"])
def test_a_damaged_table_of_the_verdict_is_named(tmp_path, content):
    path = tmp_path / "tables" / "verdict.csv"
    path.parent.mkdir()
    path.write_bytes(content)
    assert report.verdict_line(tmp_path).startswith(f"{path}: is damaged")
