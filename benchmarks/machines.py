"""Does the degradation study say the same on another processor?

    python -m benchmarks.machines                  # three studies: about ten minutes on two cores

Rounding differs between instruction sets, from the first step on, and training amplifies it: a
deep plain network ends elsewhere. The study is run as this processor would run it by default, and
as if it had no more than AVX2 and SSE4.1. The runs stay in <outputs>/<setting>, where finished
ones are skipped. Errors and the verdict's words go to docs/tables/degradation/machines.csv, and
the sentence that docs/explanation/machines.md quotes is printed.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import torch

from benchmarks.turns import ROOT
from gradflow.analysis.studies.verdict import end_blocks
from gradflow.analysis.study import load_study
from gradflow.core import provenance
from gradflow.verdict import judge_study

STUDY = "degradation"
TABLE = ROOT / "docs" / "tables" / STUDY / "machines.csv"
VARIABLES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")
SETTINGS = {  # what the variables are set to, and what torch then says of itself; None: anything
    "native": (None, None, None),
    "AVX2": ("avx2", "AVX2", "AVX2"),
    "SSE4.1": ("default", "SSE41", "DEFAULT"),
}
CAPABILITY = "import torch; print(torch.backends.cpu.get_cpu_capability())"
WORDS = ["outcome", "plain_gradient_initial", "plain_gradient_trained"]
WORDS += ["residual_gradient_initial", "residual_gradient_trained"]
NUMBERS = ["plain_error", "residual_error", "from_twin", "from_twin_low", "from_twin_high", "p"]


def main() -> None:
    """Run the study under each setting; write the table and print the sentence."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--outputs", type=Path, default=ROOT / "outputs" / "machines")
    parser.add_argument("--table", type=Path, default=TABLE)
    arguments = parser.parse_args()
    has = {name: capability(name) for name in SETTINGS}  # before hours of training
    parts = []
    for name in SETTINGS:
        run(name, arguments.outputs)
        parts.append(rows(arguments.outputs / name / STUDY, name, has[name]))
    table = pd.concat(parts)
    arguments.table.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(arguments.table, index=False, float_format="%.3f", lineterminator="\n")
    print(arguments.table, sentence(pd.read_csv(arguments.table)), sep="\n\n")


def environment(name: str) -> dict[str, str]:
    """The variables of a process under a setting."""
    found = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    values = zip(VARIABLES, SETTINGS[name], strict=False)
    return found | {key: value for key, value in values if value is not None}


def capability(name: str) -> str:
    """What torch says that it computes with under a setting; exits if that is not the setting."""
    command = [sys.executable, "-c", CAPABILITY]
    done = subprocess.run(
        command, env=environment(name), capture_output=True, text=True, check=True
    )
    found, wanted = done.stdout.strip(), SETTINGS[name][-1]
    if wanted not in (None, found):
        sys.exit(f"error: setting {name}: torch uses {found} here; this takes an x86-64 processor")
    return found


def run(name: str, outputs: Path) -> None:
    """Train what is missing of the study under a setting."""
    command = [sys.executable, "experiments/train.py", f"study={STUDY}", "study.analysis=[]"]
    command.append(f"output_root={(outputs / name).resolve()}")
    subprocess.run(command, cwd=ROOT, env=environment(name), check=True)


def rows(folder: Path, name: str, capability: str) -> pd.DataFrame:
    """A row per depth: errors in percent, plain - residual in points, and the verdict's words."""
    study = load_study(folder)
    verdict = judge_study(study.runs, end_blocks(study))
    table = verdict[["depth", "from_twin_n", *NUMBERS, *WORDS]]
    table = table.rename(columns={"from_twin_n": "seeds"}).astype({"seeds": int})
    table.insert(0, "setting", name)
    return table.assign(
        capability=capability, processor=provenance.machine(), torch=torch.__version__
    )


def sentence(table: pd.DataFrame) -> str:
    """The range over the settings, as docs/explanation/machines.md states it."""
    by_depth = table.groupby("depth")
    errors = [
        f"{span(group.plain_error)} % at depth {depth}" if index == 0 else
        f"{span(group.plain_error)} % at {depth}"
        for index, (depth, group) in enumerate(by_depth)
    ]  # fmt: skip
    native = table.setting == "native"
    names = table.setting.mask(native, table.capability).unique()
    differ = [str(depth) for depth, group in by_depth if group.outcome.nunique() > 1]
    verdict = f"differed at depth {', '.join(differ)}" if differ else "was the same at every depth"
    return (
        f"With the instructions of newer and of older processors ({', '.join(names)}) the mean "
        f"training error of the plain networks was {', '.join(errors[:-1])} and {errors[-1]}, "
        f"that of the residual ones at most {table.residual_error.max():.1f} %, "
        f"and the verdict (degradation or not) {verdict}."
    )


def span(values: pd.Series) -> str:
    """Lowest to highest, as 29.4 to 43.1."""
    low, high = f"{values.min():.1f}", f"{values.max():.1f}"
    return low if low == high else f"{low} to {high}"


if __name__ == "__main__":
    main()
