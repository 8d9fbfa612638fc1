"""The commands of the pages on data and residual designs: each is done, on small files."""

import re
import shlex
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gradflow.runs.execute import execute
from tests.data.test_named_sets import cifar100_rows, fashion
from tests.data.test_user_data import archive, images_below
from tests.docs.pages import lines_of
from tests.support.doors import ROOT, command
from tests.support.parquet_files import ENCODED

PAGES = ("docs/how-to/data.md", "docs/how-to/residual-designs.md")
TABLE = re.findall(r"^\| (`data=.*?) \|", (ROOT / PAGES[0]).read_text(), re.M)
COMMANDS = [
    shlex.join(words[2:]) for page in PAGES for words in lines_of(page) if words[1] == "train"
]
CHOICES = [
    choice.split() if choice.startswith("data=") else [f"data={choice}"]
    for row in TABLE
    for choice in re.findall(r"`([^`]+)`", row)
]
SINGLE = [words for words in COMMANDS if not re.search(r"-m|study=|data=cifar10 ", words)]
SMALL = ["data.batch_size=8", "steps=2", "evaluation.images=8"]
PHOTOS = "from tests.support.datasets import Stripes as photos\n"
NETWORKS = {
    "text": ["task=next_token", "network=custom", "network.builder=examples/gpt.py:gpt"],
    "iris": ["network=mlp"],
    "wine": ["network=mlp"],
    "breast_cancer": ["network=mlp"],
    "diabetes": ["network=mlp", "task=regression"],
}
"""Data -> what reads them, if it is not the default network."""


def laid_out(root: Path) -> None:
    """What the commands name, small."""
    shutil.copytree(ROOT / "examples", root / "examples")
    shutil.copy(ROOT / "README.md", root / "my.txt")
    archive(root / "my.npz")
    images_below(root / "flowers")
    (root / "my.py").write_text(PHOTOS)
    (root / "photos").mkdir()
    for split in ("train", "test"):
        images = [{"bytes": image} for image in (ENCODED * 16 if split == "train" else ENCODED)]
        labels = [(number + (split == "test")) % 10 for number in range(len(images))]
        table = pa.table({"image": images, "label": labels})
        pq.write_table(table, root / "photos" / f"{split}.parquet")
    (root / "data" / "cifar100").mkdir(parents=True)
    for split, count in (("train", 140), ("test", 12)):
        cifar100_rows(count, seed=count)[3].tofile(root / "data" / "cifar100" / f"{split}.bin")
    (root / "data" / "fashion_mnist").mkdir()
    fashion(root / "data" / "fashion_mnist")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    laid_out(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_commands_and_choices():
    assert len(SINGLE) >= 8
    assert {words[0] for words in CHOICES} >= {"data=text", "data=cifar100", "data=diabetes"}


@pytest.mark.parametrize("words", SINGLE)
def test_a_command_trains(folder, words):
    [config] = command("train", *shlex.split(words), *SMALL).accepted
    result = execute(config)
    assert result.status == "finished"


@pytest.mark.parametrize("words", CHOICES, ids=" ".join)
def test_a_choice_of_the_table_is_read(folder, words):
    network = NETWORKS.get(words[0].removeprefix("data="), [])
    ended = command("train", *words, *network, *SMALL)
    assert (ended.refused, ended.traceback) == (None, None)
    assert len(ended.accepted) == 1
