"""What gradflow costs, and what the usual loop costs beside it.

    make benchmark                                    # everything: about 40 minutes
    python -m benchmarks --sections steps phases      # a part of it

Prints tables and leaves them, with all digits, in outputs/benchmark: tables/ and benchmark.json,
which keeps what earlier runs measured. The machine should be idle.
"""

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import torch

from benchmarks import (
    alerts,
    bfloat16,
    convolutions,
    coordinates,
    phases,
    probe_cost,
    scale,
    startup,
    steps,
    whole_study,
)
from benchmarks.turns import ROOT
from gradflow.analysis.tables import Table
from gradflow.core import provenance

SECTIONS: dict[str, Callable[[], Iterator[tuple[str, Table]]]] = {
    "steps": lambda: steps.measure(rounds=6),
    "phases": lambda: phases.measure(turns=4),
    "convolutions": convolutions.measure,
    "startup": lambda: startup.measure(rounds=5),
    "study": lambda: whole_study.measure(rounds=2),
    "scale": scale.measure,
    "bfloat16": bfloat16.measure,
    "probes": lambda: probe_cost.measure(seconds=90),
    "alerts": alerts.measure,
    "coordinates": coordinates.measure,
}


def main() -> None:
    """Run the sections asked for; print their tables and save them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--out", type=Path, default=ROOT / "outputs" / "benchmark")
    arguments = parser.parse_args()
    measured_on = (
        f"{provenance.machine()}; torch {torch.__version__}, Python {platform.python_version()}; "
        f"code {provenance.code_version()}"
    )
    print(measured_on)
    file = arguments.out / "benchmark.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(file.read_text()) if file.exists() else {}
    for section in arguments.sections:
        for name, table in SECTIONS[section]():
            print(f"\n{name}\n\n{table}", flush=True)
            when = time.strftime("%Y-%m-%d")
            table.save(arguments.out / "tables", name, f"{measured_on}; {when}")
            kept[name] = {"measured": when, "machine": measured_on, **asdict(table)}
            kept[name] = {k: v for k, v in kept[name].items() if k in KEPT}
            file.write_text(json.dumps(kept, indent=1) + "\n")


KEPT = ("measured", "machine", "rows", "note")

if __name__ == "__main__":
    main()
