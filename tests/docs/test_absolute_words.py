"""Sentences with "cannot", "none", "never", "all": each has been read, and stands in a list.

What a paper or this suite found holds in a setting, so a sentence that says "none" about results
names steps, optimizer, rates, depths and seeds; of software, exact algebra or a definition it may
stand alone. Nobody can decide that by program. What is held is that somebody has: a sentence that
is new or changed fails here until it is copied into absolute_sentences.txt, below the heading
that it belongs to.
"""

import re
from pathlib import Path

from gradflow.analysis import readme

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / page for page in readme.pages()]
LISTED = Path(__file__).parent / "absolute_sentences.txt"
WORDS = re.compile(r"\b(cannot|none|never|all|always|nothing|nobody)\b", re.IGNORECASE)


def sentences(text):
    """Prose and cells of tables, one sentence each, on one line; code is left out."""
    text = re.sub(r"```.*?```", "\n\n", text, flags=re.S)
    text = re.sub(r"<!--.*?-->|!\[[^\]]*\]\([^)]*\)", "\n\n", text, flags=re.S)
    for block in re.split(r"\n\s*\n|^\s*[-*#|]|\|", text, flags=re.M):
        for sentence in re.split(r"(?<=[.:;?!])\s+", " ".join(block.split())):
            if sentence:
                yield re.sub(r"`[^`]*`", "`...`", sentence)


def absolute(page):
    return [s for s in sentences(page.read_text()) if WORDS.search(s.replace("`...`", ""))]


def listed():
    lines = LISTED.read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_each_absolute_sentence_has_been_read():
    known = set(listed())
    unread = {str(page): [s for s in absolute(page) if s not in known] for page in PAGES}
    assert not {name: found for name, found in unread.items() if found}


def test_the_list_has_no_sentence_that_is_gone():
    there = {sentence for page in PAGES for sentence in absolute(page)}
    assert not [sentence for sentence in listed() if sentence not in there]


def test_a_new_sentence_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("Depth 20 fits. No rate\nhelps: none of them. `all` is a value.\n")
    assert absolute(page) == ["none of them."]
