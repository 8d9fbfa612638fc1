"""make test-portable: the numeric tests with the arithmetic of other CPUs and other threads.

Vector units, BLAS kernels and threads decide in which order a sum is rounded. Each setting is one
pytest of the tests marked `numeric`; those that this CPU has no instructions for are left out.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from typing import NamedTuple

import torch

MARKER = "numeric and not slow and not gpu"


class Kernels(NamedTuple):
    """What torch, oneDNN and NumPy's OpenBLAS are asked for.

    runs_on: what torch may say of CPUs that have the instructions; first what it says when asked.
    """

    runs_on: tuple[str, ...]
    environment: dict[str, str]


KERNELS = {
    "native": Kernels((), {}),
    "avx2": Kernels(
        ("AVX2", "AVX512"),
        {
            "ATEN_CPU_CAPABILITY": "avx2",
            "ONEDNN_MAX_CPU_ISA": "AVX2",
            "OPENBLAS_CORETYPE": "Haswell",
        },
    ),
    "default": Kernels(
        ("DEFAULT", "AVX2", "AVX512"),
        {
            "ATEN_CPU_CAPABILITY": "default",
            "ONEDNN_MAX_CPU_ISA": "SSE41",
            "OPENBLAS_CORETYPE": "Nehalem",
        },
    ),
}


class Setting(NamedTuple):
    kernels: str
    threads: int

    def __str__(self) -> str:
        return f"{self.kernels}, {self.threads} thread{'s' * (self.threads > 1)}"


PARTS = {
    "whole": [Setting(kernels, threads) for threads in (1, 2) for kernels in KERNELS],
    "short": [Setting("avx2", 1), Setting("default", 2)],  # `make test` was native, one thread
}
"""The settings, by the name that PART gives."""


def can_run(kernels: Kernels) -> bool:
    """Whether this CPU has the instructions."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    found = torch.backends.cpu.get_cpu_capability()
    return not kernels.environment or (x86 and found in kernels.runs_on)


def run(setting: Setting, arguments: list[str]) -> str:
    """Why the setting failed, or "passed"; pytest prints what it finds."""
    kernels = KERNELS[setting.kernels]
    changed = {"OMP_NUM_THREADS": str(setting.threads), **kernels.environment}
    shown = " ".join(f"{name}={value}" for name, value in changed.items())
    print(f"\n== {setting}: {shown} pytest -m '{MARKER}'", flush=True)
    environment = {"OMP_WAIT_POLICY": "passive", **os.environ, **changed}  # cores are shared
    ask = [sys.executable, "-c", "import torch; print(torch.backends.cpu.get_cpu_capability())"]
    said = subprocess.check_output(ask, env=environment, text=True).strip()
    if kernels.environment and said != kernels.runs_on[0]:
        return f"FAILED: torch uses {said}, not {kernels.runs_on[0]}"
    command = [sys.executable, "-m", "pytest", "-m", MARKER, *arguments]
    return "FAILED" if subprocess.run(command, env=environment).returncode else "passed"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS, nargs="?", default="whole")
    options, arguments = parser.parse_known_args()  # what else is given is pytest's
    ends = {}
    for setting in PARTS[options.part]:
        if can_run(KERNELS[setting.kernels]):
            start = time.monotonic()
            ends[setting] = run(setting, arguments) + f" ({time.monotonic() - start:.0f} s)"
        else:
            ends[setting] = f"left out: torch finds {torch.backends.cpu.get_cpu_capability()} here"
    print("", *(f"{setting}: {end}" for setting, end in ends.items()), sep="\n")
    sys.exit(any(end.startswith("FAILED") for end in ends.values()))


if __name__ == "__main__":
    main()
