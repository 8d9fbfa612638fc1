"""The digits study from three seeds: 30 networks, by one command of ours against a shell loop
over the usual one.

Both from the first import to the last file, without figures: 120 steps of 64 images, layers'
norms at every fifth step, errors of all images twice.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.turns import ROOT, ratio
from gradflow.analysis.tables import Cell, Table

LIMIT = 2.0
DEPTHS = (110, 56, 32, 20, 8)
SEEDS = (0, 1, 2)
LOOP = """
for depth in {depths}; do for skip in "" --plain; do for seed in {seeds}; do
  {python} benchmarks/usual_loop.py --depth $depth $skip --seed $seed --out {out}/$depth$skip-$seed
done; done; done
"""


def measure(rounds: int) -> Iterator[tuple[str, Table]]:
    """Seconds of the study by the usual loop and by ours, and their ratio."""
    seconds: dict[str, list[float]] = {"usual": [], "ours": []}
    for index in range(rounds):
        with tempfile.TemporaryDirectory() as out:
            loop = LOOP.format(
                depths=" ".join(map(str, DEPTHS)),
                seeds=" ".join(map(str, SEEDS)),
                python=sys.executable,
                out=out,
            )
            commands = {
                "usual": ["sh", "-ec", loop],
                "ours": [
                    sys.executable,
                    "experiments/train.py",
                    "study=degradation",
                    f"seed={','.join(map(str, SEEDS))}",
                    "study.analysis=[]",
                    f"output_root={out}",
                ],
            }
            for name in ("usual", "ours") if index % 2 else ("ours", "usual"):
                start = time.perf_counter()
                subprocess.run(commands[name], cwd=ROOT, check=True, capture_output=True)
                seconds[name].append(time.perf_counter() - start)
                if name == "usual":
                    made = len(list(Path(out).glob("*/norms.csv")))
                    assert made == 2 * len(SEEDS) * len(DEPTHS), made
    rows: list[dict[str, Cell]] = [
        {
            "study": name,
            "seconds, median": float(sorted(values)[len(values) // 2]),
            "times as fast, median (range)": ratio(seconds["usual"], values)
            if name == "ours"
            else None,
            "wanted": LIMIT if name == "ours" else None,
        }
        for name, values in seconds.items()
    ]
    formats = {"seconds, median": ".0f", "times as fast, median (range)": ".2f"}
    yield "study", Table(rows, formats, note=f"{rounds} rounds, order changed.")
