"""make test-portable: the numeric tests under the arithmetic of other CPUs and other threads.

A CPU rounds in another order with other vector units, BLAS kernels or threads. Each setting is
one pytest of the tests marked `numeric`; those that this CPU cannot take are named and left out.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from typing import NamedTuple

import torch

KERNELS = {
    "native": {},
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
    "default": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "OPENBLAS_CORETYPE": "Nehalem",
    },
}
"""Of torch, oneDNN and NumPy's OpenBLAS: environment by name."""

RUNS_ON = {"avx2": ("AVX2", "AVX512"), "default": ("DEFAULT", "AVX2", "AVX512")}
"""What torch must say that an x86-64 CPU has."""

MARKER = "numeric and not slow and not gpu"


class Setting(NamedTuple):
    kernels: str
    threads: int

    def __str__(self) -> str:
        return f"{self.kernels}, {self.threads} thread{'s' * (self.threads > 1)}"


PARTS = {
    "whole": (MARKER, [Setting(kernels, n) for n in (1, 2) for kernels in KERNELS]),
    # `make test` is native with one thread; these differ most from it.
    "short": (MARKER, [Setting("avx2", 1), Setting("default", 2)]),
}
"""The tests and the settings, by the name that PART gives."""


def can_run(kernels: str) -> bool:
    """Whether this CPU has the instructions."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    capability = torch.backends.cpu.get_cpu_capability()
    return kernels == "native" or (x86 and capability in RUNS_ON[kernels])


def run(setting: Setting, marker: str, arguments: list[str]) -> bool:
    """Whether every test of the marker passes under the setting; pytest prints what does not."""
    environment = {"OMP_NUM_THREADS": str(setting.threads), **KERNELS[setting.kernels]}
    processes = ["-n", str(max(1, 2 // setting.threads))]
    command = [sys.executable, "-m", "pytest", "-m", marker, *processes, *arguments]
    shown = " ".join(f"{name}={value}" for name, value in environment.items())
    print(f"\n== {setting}: {shown} pytest -m '{marker}'", flush=True)
    return subprocess.run(command, env=os.environ | environment).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS, nargs="?", default="whole")
    options, arguments = parser.parse_known_args()  # what else is given is pytest's
    marker, settings = PARTS[options.part]
    lines, failed = [], False
    for setting in settings:
        if not can_run(setting.kernels):
            lines.append(f"{setting}: left out, this CPU cannot")
            continue
        start = time.monotonic()
        passed = run(setting, marker, arguments)
        failed |= not passed
        lines.append(
            f"{setting}: {'passed' if passed else 'FAILED'} ({time.monotonic() - start:.0f} s)"
        )
    print("", *lines, sep="\n")
    sys.exit(failed)


if __name__ == "__main__":
    main()
