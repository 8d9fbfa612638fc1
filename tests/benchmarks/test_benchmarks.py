"""The benchmarks' yardstick is frozen, does what it says, and their arithmetic is right."""

import csv
import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks import machines, scale
from benchmarks.turns import Side, ratio, take_turns
from gradflow.networks import build_network

ROOT = Path(__file__).parents[2]
USUAL = ROOT / "benchmarks" / "usual_loop.py"
FROZEN = "0ea628668a80ac199f560bddf4686e72fcd37333cebbafbdd8f9e853aa42ff47"


def test_the_usual_loop_is_the_one_that_was_measured():
    """To edit it would change every ratio that docs/project/speed.md quotes."""
    assert hashlib.sha256(USUAL.read_bytes()).hexdigest() == FROZEN


@pytest.mark.parametrize("skip", [True, False])
def test_the_usual_network_is_ours(skip):
    sys.path.insert(0, str(USUAL.parent))
    try:
        from usual_loop import ResNet
    finally:
        sys.path.remove(str(USUAL.parent))
    usual = ResNet(20, 16, 3, skip)
    ours = build_network("cifar_resnet", depth=20, width=16, skip=skip)
    sizes = [sorted(tuple(p.shape) for p in n.parameters()) for n in (usual, ours)]
    assert sizes[0] == sizes[1]


@pytest.mark.slow
def test_the_usual_loop_logs_every_layer_and_learns(tmp_path):
    command = [sys.executable, str(USUAL), "--depth", "8", "--steps", "60", "--out", str(tmp_path)]
    subprocess.run(command, check=True)
    rows = list(csv.reader((tmp_path / "norms.csv").read_text().splitlines()))
    first = [name for step, name, _ in rows if step == "0"]
    assert len(first) == 8 + 1  # a weight a layer, and the loss
    errors = [float(value) for step, name, value in rows if step == "60" and "train" in name]
    assert errors[0] < 0.5


ECHO = """
import sys
print("ready", flush=True)
for line in sys.stdin:
    print(int(line) * {seconds}, flush=True)
"""


def test_sides_take_turns_and_many_processes_are_as_fast_as_the_slowest(tmp_path):
    script = tmp_path / "echo.py"
    script.write_text(ECHO.format(seconds=0.5))
    found = take_turns({"one": Side([str(script)], 4), "two": Side([str(script)], 4, 2)}, 6)
    assert found["one"].tolist() == [2.0] * 6
    assert found["two"].tolist() == [4.0] * 6  # 8 steps while the slowest took 2 s


def test_ratio_is_the_median_of_the_rounds():
    fast, slow = np.array([4, 6, 8, 10, 20.0]), np.array([2, 2, 2, 2, 2.0])
    assert ratio(fast, slow)[:2] == (4.0, ratio(fast, slow).low)
    assert 2 <= ratio(fast, slow).low <= 4 <= ratio(fast, slow).high <= 10
    assert ratio([3.0, 5.0, 4.0], [1.0, 1.0, 2.0])[:3] == (3.0, 2.0, 5.0)  # few: the range


def test_the_exponent_of_growth():
    seconds = {"line": [1e-3 * n for n in (100, 1_000)], "square": [1e-6, 1e-4]}
    rows = scale.table((100, 1_000), seconds).rows
    assert [row["exponent"] for row in rows] == pytest.approx([1, 2])


def test_the_sentence_on_machines_by_hand():
    table = pd.DataFrame(
        {
            "setting": ["native", "native", "AVX2", "AVX2"],
            "capability": ["AVX512", "AVX512", "AVX2", "AVX2"],
            "depth": [8, 20, 8, 20],
            "plain_error": [0.2, 3.14, 0.2, 2.0],
            "residual_error": [0.1, 0.2, 0.1, 0.6],
            "outcome": ["no difference", "degradation", "no difference", "inconclusive"],
        }
    )
    assert machines.sentence(table) == (
        "With the instructions of newer and of older processors (AVX512, AVX2) the mean training "
        "error of the plain networks was 0.2 % at depth 8 and 2.0 to 3.1 % at 20, that of the "
        "residual ones at most 0.6 %, and the verdict (degradation or not) differed at depth 20."
    )
    same = machines.sentence(table.assign(outcome="degradation"))
    assert same.endswith("and the verdict (degradation or not) was the same at every depth.")


def test_the_page_of_machines_states_the_range_that_was_measured():
    page = " ".join((ROOT / "docs" / "explanation" / "machines.md").read_text().split())
    table = pd.read_csv(machines.TABLE)
    assert machines.sentence(table) in page
    assert set(table.setting) == set(machines.SETTINGS)


def test_a_setting_is_what_torch_computes_with(monkeypatch):
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    assert "ATEN_CPU_CAPABILITY" not in machines.environment("native")
    slowest = machines.environment("SSE4.1")
    assert (slowest["ATEN_CPU_CAPABILITY"], slowest["ONEDNN_MAX_CPU_ISA"]) == ("default", "SSE41")
    monkeypatch.setattr(machines, "CAPABILITY", "print('DEFAULT')")  # as on another processor
    assert machines.capability("native") == machines.capability("SSE4.1") == "DEFAULT"
    with pytest.raises(SystemExit, match="setting AVX2: torch uses DEFAULT here"):
        machines.capability("AVX2")
