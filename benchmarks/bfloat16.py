"""Does bfloat16 change what a study says? The same runs in float32 and under autocast.

Plain and residual networks on the digits, paired by seed: the mean loss of the last ten
mini-batches, and the words of the verdict. (If the processor has no bfloat16 arithmetic it
is emulated, slowly: the numbers are the same.)
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from benchmarks.turns import ROOT
from gradflow.analysis.studies.degradation import late_losses
from gradflow.analysis.study import load_study
from gradflow.analysis.tables import Cell, Table
from gradflow.statistics import t_interval
from gradflow.verdict import judge_study

DEPTHS = (8, 20, 32)
SEEDS = 6
DTYPES = ("float32", "bfloat16")


def measure() -> Iterator[tuple[str, Table]]:
    """Train the study in both dtypes and compare what it says."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "experiments/train.py",
            "-m",
            f"network.depth={','.join(map(str, reversed(DEPTHS)))}",
            "network.skip=false,true",
            f"seed=range(0,{SEEDS})",
            f"dtype={','.join(DTYPES)}",
            "study.name=bfloat16",
            f"output_root={folder}",
        ]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        yield "bfloat16", compare(Path(folder) / "bfloat16")


def compare(folder: Path) -> Table:
    """A row per depth and twin."""
    words, losses = {}, {}
    for dtype in DTYPES:
        study = load_study(folder, {"dtype": dtype})
        words[dtype] = judge_study(study.runs).set_index("depth").outcome
        late = late_losses(study.records("steps", ["step", "loss"]))
        losses[dtype] = study.runs.merge(late, on="run_id").set_index(["depth", "twin", "seed"])
    pairs = losses[DTYPES[0]].join(losses[DTYPES[1]].late_loss, rsuffix="_bfloat16")
    rows: list[dict[str, Cell]] = []
    for key, group in pairs.groupby(["depth", "twin"]):
        depth, twin = cast(tuple[int, str], key)
        rows.append(
            {
                "depth": int(depth),
                "network": twin,
                "loss, float32": float(group.late_loss.mean()),
                "bfloat16 - float32 (95 % interval)": t_interval(
                    group.late_loss_bfloat16 - group.late_loss
                ),
                "verdict, float32": words["float32"][depth],
                "verdict, bfloat16": words["bfloat16"][depth],
            }
        )
    formats = {"loss, float32": ".3f", "bfloat16 - float32 (95 % interval)": ".3f"}
    note = f"Digits, 120 steps, {SEEDS} seeds; nats, mean of the last ten mini-batches."
    return Table(rows, formats, note=note)
