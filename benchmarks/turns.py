"""Loops side by side on one machine: processes that take turns, so that what disturbs the
machine disturbs all alike.

A side is one process or several that work at once. All sides' processes live from the first
round to the last and sleep while others work.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import bootstrap

from gradflow.statistics import Interval

ROOT = Path(__file__).parents[1]
Floats = npt.NDArray[np.float64]


class Side:
    """So many equal processes, each of which does `steps` steps per turn."""

    def __init__(self, command: Sequence[str], steps: int, processes: int = 1):
        self.steps = steps * processes
        self._line = f"{steps}\n"
        self._processes = [
            subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
            )
            for _ in range(processes)
        ]
        for process in self._processes:
            if self._answer(process) != "ready":
                sys.exit(f"error: {' '.join(command)} did not start")

    def turn(self) -> float:
        """Steps per second of all processes together, until the last is done."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(self._line)
        return self.steps / max(float(self._answer(process)) for process in self._processes)

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.terminate()
            process.communicate()

    @staticmethod
    def _answer(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()


def take_turns(sides: Mapping[str, Side], rounds: int) -> dict[str, Floats]:
    """Steps per second of each side in each round; the order changes from round to round."""
    order = np.random.default_rng(0)
    names = list(sides)
    found: dict[str, list[float]] = {name: [] for name in names}
    try:
        for side in sides.values():  # warm-up
            side.turn()
        for _ in range(rounds):
            for index in order.permutation(len(names)):
                found[names[index]].append(sides[names[index]].turn())
    finally:
        for side in sides.values():
            side.close()
    return {name: np.array(values) for name, values in found.items()}


def ratio(above: npt.ArrayLike, below: npt.ArrayLike) -> Interval:
    """The median of the rounds' ratios and its 95 % bootstrap interval (BCa); of fewer than
    five rounds their range."""
    ratios = np.asarray(above) / np.asarray(below)
    if len(ratios) < 5:
        return Interval(float(np.median(ratios)), ratios.min(), ratios.max(), len(ratios), "range")
    found = bootstrap((ratios,), np.median, rng=0).confidence_interval
    return Interval(float(np.median(ratios)), found.low, found.high, len(ratios), "BCa bootstrap")
