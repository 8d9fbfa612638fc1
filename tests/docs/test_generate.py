"""The generated pages: each key, column, command and public name is on one, with its meaning."""

import re

import pytest

import gradflow
from docs.generate import api, choices, commands, coverage, keys, records
from gradflow.cli import COMMANDS
from gradflow.cli.keys import keys_of
from gradflow.config.registry import GROUPS
from gradflow.records.schema import SCHEMAS
from tests.docs.pages import PAGES, ROOT, text_of


def test_every_key_is_on_a_page_with_its_default_and_values():
    pages = keys.pages()
    text = "\n".join(pages.values())
    for key in keys_of("run"):
        row, *_ = [line for line in text.splitlines() if line.startswith(f"| `{key.full_name}` |")]
        assert key.meaning
        assert key.valid in row
    assert "| `network.depth` | `20` | whole number >= 8 |" in pages["network"]


def test_the_choices_that_lack_a_key_are_named_if_they_are_fewer():
    assert keys._only(("a", "b", "c"), ("a", "b", "c")) == ""
    assert keys._only(("a", "b"), ("a", "b", "c")) == "not `c`"
    assert keys._only(("a",), ("a", "b", "c")) == "`a`"


def test_every_table_and_column_has_a_meaning():
    text = records.page()
    assert all(f"\n## {table}\n" in text for table in SCHEMAS)
    assert "| `skip_share` | double | <skip part, skip + branch>" in text
    with pytest.raises(ValueError, match="no meaning of runs.colour"):
        records.meaning("runs", "colour")


def test_every_command_and_public_name_is_on_a_page():
    assert all(f"## `{name}`" in commands.page() for name in COMMANDS)
    assert all(f"gradflow.{name}" in api.page() for name in gradflow.__all__)
    assert "| `workers` | `null` | null: one per core" in commands.launchers(ROOT)


def test_what_nobody_wrote_about_is_named(monkeypatch):
    pages = {page.removeprefix("docs/"): text_of(page) for page in PAGES}
    assert coverage.missing(pages) == []
    monkeypatch.setattr(gradflow, "__all__", [*gradflow.__all__, "unheard_of"])
    monkeypatch.setitem(COMMANDS, "unheard", COMMANDS["train"])
    assert coverage.missing(pages) == ["gradflow.unheard_of", "gradflow unheard"]
    monkeypatch.setattr("docs.generate.gallery.entries", list)
    assert "study budget: docs/gallery/budget.md" in coverage.missing(pages)


def test_every_choice_says_what_it_is():
    rows = [row for group in GROUPS for row in choices.table(group)[2:]] + choices.scales()[2:]
    assert len(rows) > 40
    assert all(re.fullmatch(r"\| `\w+` \| [A-Z~`\w].+ \|", row) for row in rows), rows
    assert "| `relu` |" not in "\n".join(choices.values())
    assert "| `orthogonal` | Orthonormal rows or columns" in "\n".join(choices.values())
