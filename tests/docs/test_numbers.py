"""Numbers in the text of the gallery: each is in a table of its study, or is computed here."""

import re

import numpy as np
import pytest
import yaml

import gradflow
from gradflow.statistics import interval
from tests.docs.pages import ROOT, text_of

NOT_OF_A_TABLE = {
    "budget": {"0.05": "the peak rate", "2.13": "torch"},
    "degradation": {
        "0.05": "the peak rate",
        "2.13": "torch",
        "0.9": "momentum",
        "0.6": "GB, timed once",
        "4.2": "a section of the paper",
        **dict.fromkeys(("40.6", "73.0", "3.0"), "tables/batch_statistics.md of the study"),
    },
    "he2015": {
        "0.1": "the peak rate",
        "0.01": "the rate of the warm-up",
        "2.11": "torch",
        "0.16": "the paper's deviation over seeds at depth 110, table 6",
    },
    "modern_residuals": {"3.25": "the entropy of single characters of the text"},
    "learning_rate": {"0.003": "the lowest rate", "0.3": "the highest rate"},
    "optimizers": {
        "0.003": "a rate", "0.015": "a rate", "2.11": "torch", "2.13": "torch",
        "60.8": "tables/budget.md of budget",
        **dict.fromkeys(("0.7", "0.8", "7.9"), "decades of update ratios; tested below"),
    },
}  # fmt: skip
"""Study -> number of its page -> where it is from."""
STUDIES = sorted(
    path.name for path in (ROOT / "docs" / "tables").iterdir()
    if (ROOT / "docs" / "gallery" / f"{path.name}.md").exists()
)  # fmt: skip


def prose(page):
    """A page without its tables, code and front matter, on one line."""
    text = re.sub(r"<!-- table.*?<!-- end -->|```.*?```|\A---.*?---", "", text_of(page), flags=re.S)
    return " ".join(re.sub(r"`[^`]*`", "", text).split())


def he2015():
    """Derived from the reference records: differences of depths, paired over seeds; single runs."""
    runs = gradflow.read_records(ROOT / "outputs" / "reference" / "he2015", "runs")
    keys = ["network_skip", "network_depth"]
    errors = 100 * runs.pivot_table("final_train_error", "seed", keys)
    pairs = [(False, 56, 20), (True, 56, 20), (True, 44, 20)]
    found = [interval(errors[skip][deep] - errors[skip][low]) for skip, deep, low in pairs]
    deepest = [f"{error:.1f}" for error in sorted(errors[True][110])]
    return [(f"{i.mean:.1f}", f"{i.low:.1f} ... {i.high:.1f}") for i in found], deepest


def at_full_length():
    """Errors of the four networks of the paper's length, of which two have not finished, so that
    no table of the suite has them: by split, at the end, and what residual 56 misses in test."""
    columns, ends = {}, {}
    for config in (ROOT / "outputs" / "reference" / "he2015_paper").glob("*/config.yaml"):
        network = yaml.safe_load(config.read_text())["network"]
        name = f"{'residual' if network['skip'] else 'plain'} {network['depth']}"
        errors = gradflow.read_records(config.parent, "evaluations")
        errors = 100 * errors.set_index(["split", "step"]).error
        columns[name] = errors["train", 56_000], errors["test", 56_000]
        ends[name] = f"{errors['test'].iloc[-1]:.1f}"
    shown = [columns[name] for name in ("plain 20", "plain 56", "residual 20", "residual 56")]
    rows = {
        split: [f"{errors[row]:.2f}" for errors in shown]
        for row, split in enumerate(("training", "test"))
    }
    missing = f"{columns['residual 56'][1] - 6.97:.1f}"  # table 6
    return rows, (ends["plain 20"], ends["residual 20"]), missing


@pytest.mark.parametrize("study", STUDIES)
def test_a_number_of_the_text_is_in_a_table_of_the_study(study):
    tables = "".join(p.read_text() for p in (ROOT / "docs" / "tables" / study).iterdir())
    known = {*re.findall(r"\d+\.\d+", tables), *NOT_OF_A_TABLE.get(study, {})}
    if study == "he2015":
        differences, deepest = he2015()
        known |= {*re.findall(r"\d+\.\d+", f"{differences} {at_full_length()}"), *deepest}
    assert (
        not set(re.findall(r"(?<!\d\.)\d+\.\d+(?!\.\d)", prose(f"docs/gallery/{study}.md"))) - known
    )


def test_the_differences_of_depths_are_those_of_the_records():
    text = prose("docs/gallery/he2015.md")
    differences, deepest = he2015()
    for mean, ends in differences:
        assert re.search(rf"{mean} (points )?.{{0,25}}\({re.escape(ends)}", text), (mean, ends)
    assert f"two of three seeds end at {deepest[0]} and {deepest[1]} %" in text
    assert f"ends at {deepest[2]} %" in text


def test_the_errors_at_the_papers_own_length_are_those_of_the_records():
    rows, ends, missing = at_full_length()
    text = text_of("docs/gallery/he2015.md")
    for split, errors in rows.items():
        assert f"| {split} error, % | {' | '.join(errors)} |" in text
    text = prose("docs/gallery/he2015.md")
    assert f"{missing} points are missing" in text
    assert f"ended at {ends[0]} and {ends[1]} %" in text


def test_the_spread_of_the_control_is_that_of_the_records():
    """Decades between the layers of normalized steps, at the first and at the last update."""
    folder = ROOT / "outputs" / "reference" / "optimizers"
    runs = gradflow.read_records(folder, "runs", where={"optimizer_name": "normalized"})
    columns = ["run_id", "step", "relative_update"]
    where = {"run_id": list(runs.run_id)}
    layers = gradflow.read_records(folder, "layers", columns=columns, where=where)
    layers = layers[layers.relative_update > 0]
    moved = layers.groupby(["run_id", "step"]).relative_update.agg(["min", "max"])
    decades = np.log10(moved["max"] / moved["min"]).groupby("run_id").agg(["first", "last"])
    runs = runs.set_index("run_id").join(decades)
    assert runs["first"].max() < 1e-3
    highest = runs.optimizer_learning_rate == 0.01
    assert runs[~highest]["last"].max() < 0.7  # 0.01 is shown nowhere
    long = runs.steps == 2000
    assert f"{runs[highest & ~long]['last'].max():.1f}" == "0.8"
    assert f"{runs[highest & long]['last'].max():.1f}" == "7.9"


def test_the_number_of_claims_that_hold():
    table = (ROOT / "docs" / "tables" / "acceptance" / "acceptance.md").read_text()
    results = re.findall(r"\| (\w+)(?:: [^|]+)? \|$", table, re.M)[1:]
    held = f"{results.count('pass')} of {len(results)} claims"
    assert all(f"**{held}**" in text_of(page) for page in ("README.md", "docs/index.md"))
    holding, blind = re.search(r"published, blind: (\d+) of (\d+) pass", table).groups()
    text = " ".join(text_of("README.md").split())
    assert f"{results.count('fail')} fail, with the reason" in text
    assert f"{blind} published ones whose bound was fixed before the first look, {holding}" in text
