"""The Python of README.md and of every page runs, each page's in one go, and gives what it says."""

import os
import re

import pytest

from gradflow.cli import main
from tests.docs.pages import PAGES, ROOT, blocks, text_of

FRAGMENT = "<!-- a fragment: "
"""Before a block that cannot run alone; the comment says which test runs it whole."""
WITH = [page for page in PAGES if blocks(page, "python")]


def runnable(page):
    text = re.sub(rf"{FRAGMENT}.*?-->\n```python\n.*?^```", "", text_of(page), flags=re.S | re.M)
    return re.findall(r"^```python\n(.*?)^```", text, re.S | re.M)


def run(page, folder, monkeypatch):
    """The names that a page's Python leaves; outputs/degradation has the records of a study."""
    (folder / "outputs").mkdir()
    (folder / "outputs" / "reference").symlink_to(ROOT / "outputs" / "reference")
    (folder / "outputs" / "degradation").symlink_to(ROOT / "outputs" / "reference" / "he2015")
    monkeypatch.chdir(folder)
    names = {}
    for block in runnable(page):
        exec(block, names)
    return names


CHECKED = {
    "README.md",
    "docs/how-to/networks.md",
    "docs/how-to/probes.md",
    "docs/explanation/theory.md",
    "docs/how-to/coordinates.md",
}
"""The pages that a test below runs and looks at."""


@pytest.mark.parametrize("page", [page for page in WITH if page not in CHECKED])
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    run(page, tmp_path, monkeypatch)


def test_a_fragment_names_the_test_that_runs_it():
    for page in WITH:
        for path in re.findall(rf"{FRAGMENT}(\S+)", text_of(page)):
            assert (ROOT / path).exists()


def test_of_the_page_of_networks(tmp_path, monkeypatch):
    assert len(run("docs/how-to/networks.md", tmp_path, monkeypatch)["network"].blocks) == 27


def test_of_the_page_of_probes(tmp_path, monkeypatch):
    """Ten lines, and every block of a network that is not ours has its ledger."""
    rows = run("docs/how-to/probes.md", tmp_path, monkeypatch)["blocks"]
    assert len(rows) == 10 * 13
    assert rows.skip_share[rows.block_index < 12].notna().all()


def test_of_readme_with_the_report_of_what_it_watched(tmp_path, monkeypatch, capsys):
    run("README.md", tmp_path, monkeypatch)
    assert "50 steps, 5 measured, 0 alerts" in capsys.readouterr().out
    assert os.path.exists("runs/first.png")
    main(["report", "runs/first"])
    assert "runs/first/report.html" in capsys.readouterr().out


def test_of_the_page_of_theory_gives_the_numbers_that_stand_there(tmp_path, monkeypatch):
    names = run("docs/explanation/theory.md", tmp_path, monkeypatch)
    assert f"{names['depth'].batch_norm_factor(64):.3f}" == "1.493"
    assert f"{names['depth'].residual_ratio(54, 1, 54**-0.5):.2f}" == "2.69"


@pytest.mark.slow
def test_of_the_page_of_coordinates(tmp_path, monkeypatch):
    assert run("docs/how-to/coordinates.md", tmp_path, monkeypatch)["check"].outcome == "fails"
