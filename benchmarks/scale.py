"""What a study's size costs: 100, 1,000 and 10,000 finished runs, their records simulated.

Each command is timed in a process of its own, with its imports: `status.py` when it reads a
study without an index (which it then makes; a study that runs keeps its own up to date) and
with one, and the command that started the study, run again, which has nothing left to do.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.large_study import DEPTHS, ROOT, simulate, timed
from gradflow.analysis.tables import Cell, Table
from gradflow.data.arrays import fingerprint
from gradflow.data.sets.digits import DigitsConfig

SIZES = (100, 1_000, 10_000)
LIMIT = 10.0  # seconds at the last size, but for the making of the index


def measure(sizes: tuple[int, ...] = SIZES) -> Iterator[tuple[str, Table]]:
    """Seconds of `status` and of a start, for studies of these numbers of runs."""
    rows: dict[str, list[float]] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as name:
            root = Path(name)
            data = fingerprint(DigitsConfig(), root / ".cache")
            start = time.perf_counter()
            folder = simulate(root, size, rows=min(DEPTHS), data=data)
            print(f"{size} runs simulated in {time.perf_counter() - start:.0f} s", flush=True)
            status = [sys.executable, str(ROOT / "analysis/status.py"), str(folder)]
            for what, command in {
                "status, no index yet": status,
                "status": status,
                "start of the finished study": start_command(root, size),
            }.items():
                rows.setdefault(what, []).append(timed(command)[0])
    yield "scale", table(sizes, rows)


def start_command(root: Path, size: int) -> list[str]:
    """Of the study that `simulate` makes."""
    return [
        sys.executable,
        str(ROOT / "experiments/train.py"),
        "-m",
        f"network.depth={','.join(map(str, DEPTHS))}",
        "network.skip=true,false",
        f"seed=range(0,{size // (2 * len(DEPTHS))})",
        "network.width=8",
        "probe.every=1",
        "steps=1",
        "study.name=large",
        f"output_root={root}",
    ]


def table(sizes: tuple[int, ...], rows: dict[str, list[float]]) -> Table:
    """Seconds by size, and the exponent of the growth between the last two, imports included:
    1 is linear."""
    found: list[dict[str, Cell]] = []
    for what, seconds in rows.items():
        row: dict[str, Cell] = {"seconds": what}
        row |= {f"{size:,} runs": took for size, took in zip(sizes, seconds, strict=True)}
        growth = np.log(seconds[-1] / seconds[-2]) / np.log(sizes[-1] / sizes[-2])
        found.append(row | {"exponent": float(growth), "wanted, s": LIMIT})
    return Table(found, {"exponent": ".2f"}, note="Wall seconds of whole commands.")
