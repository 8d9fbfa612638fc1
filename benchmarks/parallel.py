"""What a second worker brings: the same study with one worker and with two, in turns.

python -m benchmarks.parallel

Whole processes, from the command to its end, in fresh folders; the order changes from round to
round. Also: how long a complete study of 40 runs takes when its command is run again.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]


def seconds(folder: Path, *overrides: str) -> float:
    """Of one study command."""
    command = [sys.executable, str(ROOT / "experiments/train.py"), "-m", *overrides]
    start = time.perf_counter()
    subprocess.run([*command, f"output_root={folder}"], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Print the throughput of two workers over one, and the cost of a restart."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--restarts", type=int, default=5)
    arguments = parser.parse_args()
    study = ("network.depth=56", "seed=0,1,2,3,4,5,6,7")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        for index in range(arguments.rounds):
            took = {}
            for workers in (1, 2) if index % 2 else (2, 1):
                folder = Path(name) / f"{index}-{workers}"
                took[workers] = seconds(folder, *study, f"hydra.launcher.workers={workers}")
            ratios.append(took[1] / took[2])
            print(f"8 runs: {took[1]:.1f} s with one worker, {took[2]:.1f} s with two", flush=True)
        low, middle, high = np.quantile(ratios, [0, 0.5, 1])
        print(f"throughput: {middle:.2f} times ({low:.2f} ... {high:.2f})")
        seeds = ",".join(map(str, range(40)))
        forty = ["network.depth=8", "network.width=2", "data.subset=64", "steps=2"]
        forty += [f"seed={seeds}", "probe=off", "details=off"]
        seconds(Path(name) / "forty", *forty)
        again = [seconds(Path(name) / "forty", *forty) for _ in range(arguments.restarts)]
        print(
            f"40 finished runs, started again: {np.median(again):.1f} s, at most {max(again):.1f}"
        )


if __name__ == "__main__":
    main()
