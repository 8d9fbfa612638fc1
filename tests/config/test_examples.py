"""The examples of docs/how-to/extending.md: forty lines each, run as studies with twins."""

import importlib.util
import json
import math
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gradflow.analysis.output import Output
from gradflow.analysis.studies import ledger
from gradflow.analysis.study import load_study
from gradflow.records import read_records, read_runs
from gradflow.runs.execute import execute
from tests.support.doors import ROOT, command
from tests.support.figures import checked
from tests.support.plugins import forgotten

EXAMPLES = ROOT / "examples"
SMALL = ["steps=6", "evaluation.every=6"]
WORDS = {
    "derf": [f"plugins=[{EXAMPLES / 'derf.py'}]", "network.norm=derf", "network.width=4"],
    "gated": [f"plugins=[{EXAMPLES / 'gated.py'}]", "network=gated"],
    "two_streams": [
        "network=custom",
        f"network.builder={EXAMPLES / 'two_streams.py'}:two_streams",
    ],
    "rings": ["data=npz", "network.width=4"],
    "gpt": [
        "data=text",
        f"data.file={EXAMPLES / 'gpt.py'}",
        "data.context=8",
        "data.batch_size=8",
        "task=next_token",
        "network=custom",
        f"network.builder={EXAMPLES / 'gpt.py'}:gpt",
        "network.width=8",
    ],
}


@pytest.fixture(autouse=True)
def _forgotten():
    with forgotten():
        yield


def words_of(name: str, tmp_path: Path) -> list[str]:
    words = [*WORDS[name], *SMALL, f"output_root={tmp_path}"]
    if name == "rings":
        file = tmp_path / "rings.npz"
        subprocess.run([sys.executable, str(EXAMPLES / "rings.py"), str(file)], check=True)
        words.append(f"data.file={file}")
    return words


def test_each_example_is_here_and_has_forty_lines_at_most():
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == sorted(WORDS)
    for path in EXAMPLES.glob("*.py"):
        assert len(path.read_text().splitlines()) <= 40, path


@pytest.mark.parametrize("name", WORDS)
def test_an_example_trains_as_twins_with_equal_weights(tmp_path, name):
    words = words_of(name, tmp_path)
    both = "network.skip=false,true"
    configs = command("train", "-m", *words, "network.depth=8", both).accepted
    folders = [execute(config).folder for config in configs]
    runs = read_runs(tmp_path / "scratch")
    assert sorted(runs.network_skip) == [False, True]
    assert (runs.status == "finished").all()
    first = [read_records(f, "layers").query("step == 0").weight_norm for f in folders]
    np.testing.assert_array_equal(*first)
    blocks = [read_records(f, "blocks").query("step == 0") for f in folders]
    assert len(blocks[0]) == len(blocks[1]) > 2
    assert all(rows.input_grad_norm.notna().all() for rows in blocks)
    assert (blocks[1].skip_share.dropna() > 0).all()
    assert blocks[1].skip_share.notna().sum() == len(blocks[1]) - 1  # all but the last row
    several = [rows.stream_shares.dropna() for rows in blocks]
    assert [len(shares) for shares in several] == [6 * (name == "two_streams")] * 2
    assert all(sum(shares) == pytest.approx(1) for rows in several for shares in rows)


def test_the_ledger_of_two_streams_has_a_figure_of_their_shares(tmp_path):
    words = words_of("two_streams", tmp_path)
    swept = ["network.depth=6,8", "network.skip=false,true", "seed=0,1"]
    for config in command("train", "-m", *words, *swept).accepted:
        execute(config)
    output = Output(load_study(tmp_path / "scratch"))
    with checked() as faults:
        ledger.analyze(output)
    assert faults == {}
    drawn = pd.read_csv(output.figures / "ledger_streams.csv", dtype={"label": str})
    lines = drawn[(drawn.kind == "line") & drawn.label.isin(["0", "1"])]
    totals = lines.groupby(["panel", "x"]).y.sum()  # two medians of two seeds each
    assert len(totals) == 4 * 6
    np.testing.assert_allclose(totals, 1)
    facts = json.loads((output.figures / "ledger_streams.json").read_text())
    assert "are of all streams together" in facts["caption"]
    assert "is of all streams together" in (output.figures / "ledger.json").read_text()


def test_a_command_of_an_example_is_one_that_works(tmp_path):
    for path in EXAMPLES.glob("*.py"):
        text = path.read_text().split('"""')[1].replace("\\\\\n", " ")
        [words] = re.findall(r"gradflow sweep (.+)", text)
        given = [word.replace("=[examples/", f"=[{EXAMPLES}/") for word in shlex.split(words)]
        given = [word.replace("=examples/", f"={EXAMPLES}/") for word in given]
        if path.stem == "rings":
            given = [*given[:1], words_of("rings", tmp_path)[-1], *given[2:]]
        ended = command("train", "-m", *given, f"output_root={tmp_path}")
        assert (ended.refused, ended.traceback) == (None, None), path
        assert {config.network.skip for config in ended.accepted} == {True, False}


def test_derf_is_what_its_paper_says():
    import torch

    spec = importlib.util.spec_from_file_location("toy_plugin_derf", EXAMPLES / "derf.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    norm = module.Derf(3, dims=2).double()
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 2.0, 3.0]))
        norm.bias.copy_(torch.tensor([0.1, 0.2, 0.3]))
        norm.shift.fill_(0.25)
        expected = np.vectorize(math.erf)(0.5 * x.numpy() + 0.25) * np.arange(1, 4)[:, None, None]
        expected += 0.1 * np.arange(1, 4)[:, None, None]
        np.testing.assert_allclose(norm(x).numpy(), expected, rtol=1e-6)  # float32 constants


@pytest.mark.slow
@pytest.mark.parametrize("name", WORDS)
def test_an_example_is_a_study_with_verdict_figures_and_report(tmp_path, name):
    words = words_of(name, tmp_path)
    swept = ["network.depth=8,14", "network.skip=false,true", "seed=0,1,2", "study.name=mine"]
    asked = "study.analysis=[degradation,gradient_highway,ledger,verdict]"
    script = str(ROOT / "experiments" / "train.py")
    subprocess.run([sys.executable, script, "-m", *words, *swept, asked], check=True)
    study = tmp_path / "mine"
    assert read_runs(study).status.tolist() == ["finished"] * 12
    assert (study / "report.html").exists()
    assert {path.stem for path in study.glob("tables/*.md")} >= {"degradation", "verdict"}
    figures = {path.stem for path in study.glob("figures/*.png")}
    assert figures >= {"degradation", "gradient_ratio", "ledger", "training_curves"}
    ratios = (study / "figures" / "gradient_ratio.csv").read_text()
    assert "plain" in ratios
    assert "residual" in ratios
