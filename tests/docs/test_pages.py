"""README.md and the pages do not rot: length, links, figures, tables, numbers, menu, gallery."""

import posixpath
import re
import shutil
import subprocess
from pathlib import PurePosixPath

import pytest
import yaml

from docs.generate import gallery, links
from gradflow.analysis import readme
from gradflow.analysis.studies.verdict_words import GRADIENT_VERBS, TUNED
from gradflow.config.conf_folder import STUDIES
from gradflow.core.errors import GradflowError
from gradflow.runs.status import ENDED
from gradflow.verdict import outcome, tuning
from tests.docs.pages import PAGES, ROOT, text_of

MENU = (ROOT / "mkdocs.yml").read_text().split("\nnav:\n")[1]


def test_readme_is_a_page():
    assert len(text_of("README.md").splitlines()) <= 150


def tracked():
    """The files of a clone and their folders, by path; of a tree without git all that there are."""
    git = shutil.which("git") if (ROOT / ".git").exists() else None
    files = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*")] if git is None else []
    if git is not None:
        listed = subprocess.run([git, "-C", str(ROOT), "ls-files", "-z"], capture_output=True)
        files = listed.stdout.decode().split("\0")
    folders = {parent.as_posix() for path in files for parent in PurePosixPath(path).parents}
    return {*files, *folders}


def test_every_link_leads_to_a_file_of_a_clone():
    """Also on a code host, which has no page that only the site has."""
    there = tracked()
    linked, dead = set(), []
    for page in sorted(path for path in there if path.endswith((".md", ".ipynb"))):
        text = re.sub(r"^```.*?^```", "", text_of(page), flags=re.S | re.M)
        text = re.sub(r"`[^`\n]*`", "", text)
        targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
        targets += re.findall(r"(?:src|href)=\\?\"([^\"#\\]+)", text)
        for target in (each for each in targets if not re.match(r"[a-z]+:", each)):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(page), target))
            linked.add(path)
            if path not in there:
                dead.append(f"{page}: {target}")
    assert dead == []
    assert set(links.PAGES) <= linked


def test_the_site_has_such_a_file_as_the_page_made_from_it():
    assert set(links.PAGES) <= tracked()
    assert set(links.PAGES.values()) <= set(re.findall(r"[\w/-]+\.md", MENU))
    text = "[keys](../../conf/network), [why](../project/faq.md), [m](../../src/gradflow/x.py#L2)"
    assert links.to_pages(text, "how-to/networks.md") == text.replace(
        "../../conf/network", "../reference/network.md"
    )
    assert links.to_pages("[c](../CONTRIBUTING.md)", "index.md") == "[c](project/contributing.md)"


def test_every_page_is_in_the_menu():
    pages = {page.removeprefix("docs/") for page in PAGES} - {"README.md"}
    assert pages <= set(re.findall(r"[\w/-]+\.md", MENU))


def test_the_words_of_a_verdict_and_the_states_of_a_run_are_in_the_glossary():
    entries = re.findall(r"^\| ([^|]+) \|", text_of("docs/project/glossary.md"), re.M)
    explained = {word for entry in entries for word in entry.split(", ")}
    words = [outcome.DEGRADATION, outcome.OVERFITTING, outcome.NO_DIFFERENCE]
    words += [outcome.INCONCLUSIVE, outcome.TOO_FEW, *GRADIENT_VERBS, *TUNED, tuning.UNKNOWN]
    words += [*ENDED, "running", "interrupted", "missing", "failed", "pruned"]
    assert set(words) <= explained


def test_the_index_of_the_gallery_lists_every_page_with_its_question():
    """On the site cards take its place."""
    index = text_of("docs/gallery/index.md")
    pages = sorted((ROOT / "docs" / "gallery").glob("*.md"))
    for page in (each for each in pages if each.name != "index.md"):
        question = re.search(r"^# (.+)$", page.read_text(), re.M)[1]
        assert f"- [{question}]({page.name})" in index


def test_every_study_has_a_page_of_the_gallery():
    """With its command, time, setting, question and figure."""
    assert {entry.path.stem for entry in gallery.entries()} == {
        p.stem for p in STUDIES.glob("*.yaml")
    }
    for entry in gallery.entries():
        assert f"gradflow study {entry.path.stem}" in gallery.command(entry.facts)
        text = entry.path.read_text()
        assert text.index("## What it shows") < text.index("## What it does not show")


def test_a_gallery_page_without_a_figure_is_refused(tmp_path):
    page = tmp_path / "budget.md"
    page.write_text("---\nstudy: budget\ntime: 1 s\nsetting: none\n---\n# Why?\n")
    with pytest.raises(ValueError, match="needs study, time, setting"):
        gallery._entry(page)


@pytest.mark.parametrize("page", PAGES)
def test_quoted_tables_and_numbers_are_those_that_were_measured(page):
    """Nobody edits a number by hand: python analysis/readme.py outputs writes them."""
    assert readme.renewed(page) == text_of(page)
    assert not re.search(r"^\s*<!-- number", text_of(page), re.M)  # ends a paragraph


def written(root, page):
    (root / "docs").mkdir(parents=True, exist_ok=True)
    (root / "README.md").write_text(page)
    (root / "docs" / "a.md").write_text(page)


def test_a_changed_table_or_figure_is_seen(tmp_path):
    outputs, root = tmp_path / "outputs", tmp_path / "root"
    table = outputs / "s" / "tables" / "t.md"
    figure = outputs / "s" / "figures" / "twins.png"
    for path, text in ((table, "| a |\n| --- |\n| 1 |\n\nmade of runs\n"), (figure, "new")):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    page = "before\n<!-- table s/t -->\n| old |\n<!-- end -->\n![x](docs/figures/s.png) after\n"
    written(root, page)
    assert readme.pages(root) == ["README.md", "docs/a.md"]
    found = dict(readme.changes(outputs, root))
    quoted = root / "docs" / "tables" / "s" / "t.md"
    assert found == {table: quoted, figure: root / "docs" / "figures" / "s.png"}
    with pytest.raises(GradflowError, match="quotes docs/tables/s/t.md, which is not there"):
        readme.renewed("README.md", root)
    quoted.parent.mkdir(parents=True)
    quoted.write_bytes(table.read_bytes())
    assert table not in dict(readme.changes(outputs, root))
    whole = "<!-- table s/t -->\n| a |\n| --- |\n| 1 |\n<!-- end -->"
    assert whole in readme.renewed("README.md", root)
    assert readme.pages(root) == ["README.md", "docs/a.md"]


def test_a_number_is_that_of_its_table(tmp_path):
    table = tmp_path / "docs" / "tables" / "s" / "t.md"
    table.parent.mkdir(parents=True)
    table.write_text("| depth | error % |\n| ---: | ---: |\n| 8 | **1.5** |\n| 20 | 2 |\n")
    written(tmp_path, 'of <!-- number s/t "8"\n"error %" -->9<!-- end --> %\n')
    assert '"error %" -->1.5<!-- end --> %' in readme.renewed("README.md", tmp_path)
    for marker in ('number s/t "9" "error %"', 'number s/t "8" "loss"'):
        written(tmp_path, f"<!-- {marker} -->9<!-- end -->")
        with pytest.raises(GradflowError, match="s/t has no one number at"):
            readme.renewed("README.md", tmp_path)


@pytest.mark.parametrize("marker", ["<!-- number s/t 8 -->9<!-- end -->", "<!-- table s/t -->\n"])
def test_a_marker_that_is_not_whole_is_refused(tmp_path, marker):
    written(tmp_path, marker)
    with pytest.raises(GradflowError, match=r"README.md: has a marker that is no whole"):
        readme.renewed("README.md", tmp_path)


def test_the_menu_is_yaml_of_pages():
    menu = yaml.safe_load(MENU)
    assert all(isinstance(entry, dict) for entry in menu)
