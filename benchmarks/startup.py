"""How long it takes to begin: a run alone, and one more run in a worker that is there already.

Whole processes in turns, from their start to their end: `import torch`, before which nothing can
be trained; a run of one step from Python; and the same from the command line. To end a run
(evaluation, weights, files) is in it, 0.2 s. One more run in a worker: the difference
between studies of 22 and of 2 one-step runs by one worker, divided by 20.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import numpy as np

from benchmarks.turns import ROOT
from gradflow.analysis.tables import Cell, Table
from gradflow.statistics import Interval

LIMIT = 3.0
TRAIN = "experiments/train.py"
RUN = ("network.depth=8", "network.width=2", "steps=1", "probe=off", "details=off")
FROM_PYTHON = """
import sys
from gradflow.config import RunConfig
from gradflow.config.probes import OffConfig
from gradflow.data.sets.digits import DigitsConfig
from gradflow.networks.families.cifar_resnet import CifarResNetConfig
from gradflow.runs.execute import execute
from gradflow.training.optimizers.sgd import SGDConfig
from gradflow.training.schedules.constant import ConstantConfig
execute(RunConfig(network=CifarResNetConfig(depth=8, width=2), data=DigitsConfig(),
    optimizer=SGDConfig(), schedule=ConstantConfig(), probe=OffConfig(), details=OffConfig(),
    steps=1, seed=int(sys.argv[1]), output_root=sys.argv[2]))
"""


def measure(rounds: int) -> Iterator[tuple[str, Table]]:
    """Seconds to import torch, of a run of one step, and of one more run in a worker."""
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as root:
        for index in range(rounds + 1):
            commands = {
                "import torch": ["-c", "import torch"],
                "a run of one step, from Python": ["-c", FROM_PYTHON, str(index), root],
                "a run of one step, from the command line": [
                    *(TRAIN, *RUN, f"seed={1000 + index}", f"output_root={root}")
                ],
            }
            for what, command in commands.items():
                took = _seconds(command)
                if index:  # the first round decodes the data and fills the disk's cache
                    found.setdefault(what, []).append(took)
        for index in range(rounds):
            few, many = (_study(root, 100 * (index + 20) + runs, runs) for runs in (2, 22))
            found.setdefault("one more run in a worker", []).append((many - few) / 20)
    rows: list[dict[str, Cell]] = [
        {
            "what": what,
            "seconds, median (range)": Interval(
                float(np.median(values)), min(values), max(values), len(values), "range"
            ),
            "wanted": LIMIT if what.startswith("a run") else None,
        }
        for what, values in found.items()
    ]
    formats = {"seconds, median (range)": ".2f"}
    yield "startup", Table(rows, formats, note=f"{rounds} rounds.")


def _study(root: str, first: int, runs: int) -> float:
    more = ["study.name=startup", "hydra.launcher.workers=1", f"output_root={root}"]
    return _seconds([TRAIN, "-m", *RUN, f"seed=range({first},{first + runs})", *more])


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - start
