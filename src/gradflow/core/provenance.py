"""What code and what machine a run is from."""

import ast
import contextlib
import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from gradflow.core.version import __version__

PACKAGE = Path(__file__).parents[1]

PURPOSES = ("run", "diagnosis", "acceptance")
"""What has a code version; each counts what those before it count, and more."""

MODULES = {
    "networks": ("run", "what is computed, how it is drawn, its size"),
    "data": ("run", "images, labels, batches, their order, augmentation and normalization"),
    "probes": ("run", "what is measured"),
    "training": ("run", "what is done in a step, when it is evaluated, what is recorded of it"),
    "config/transformers.py": ("run", "what each block of a transformer computes"),
    "core/seeds.py": ("run", "what is drawn at random"),
    "config/blocks.py": ("run", "what each block computes"),
    "config/data.py": ("run", "its config class"),
    "config/networks.py": ("run", "values derived from the config of a network"),
    "config/convolutions.py": ("run", "values derived from the config of a network"),
    "config/optimizers.py": ("run", "its config class"),
    "config/probes.py": ("run", "its config classes"),
    "config/run.py": ("run", "the config of a run"),
    "config/schedules.py": ("run", "its config class"),
    "records/quantities.py": ("run", "what is measured, and the type that it is stored in"),
    "records/schema.py": ("run", "the type that each number is stored in"),
    "diagnostics": ("diagnosis", "what is measured of a network that has been trained"),
    "config/diagnostics.py": ("diagnosis", "its config classes"),
    "runs/diagnosis.py": ("diagnosis", "in which precision a diagnosis is made"),
    "training/frozen.py": ("diagnosis", "the network that is measured"),
    "records/diagnostic_schema.py": ("diagnosis", "the type that each number is stored in"),
    "acceptance": ("acceptance", "the claims, and what they compare"),
    "theory": ("run", "the slope and the weight variance of shaped networks; what is predicted"),
    "statistics": ("acceptance", "intervals and tests"),
    "config/acceptance.py": ("acceptance", "its config class"),
    "__init__.py": (None, "names of the package"),
    "__main__.py": (None, "python -m gradflow"),
    "analysis": (None, "reads records"),
    "cli": (None, "reads command lines"),
    "data/cache.py": (None, "gives back the arrays that it was given, or none"),
    "config": (None, "refuses values, names runs, passes checked values on"),
    "core": (None, "computes no number that is recorded"),
    "records": (None, "stores rows and reads them as they are"),
    "records/watched_schema.py": (None, "of trainings that are not this package's runs"),
    "runs": (None, "chooses which runs are done, and stores what the others return"),
    "sweeps": (None, "distributes runs"),
    "training/checkpoint.py": (None, "gives back the bits that it was given, or none"),
    "training/signed.py": (None, "gives back the bits that it was given, or none"),
    "training/origin.py": (None, "names code, torch version and instruction set"),
    "training/pruning.py": (None, "chooses which runs are given up"),
    "verdict": (None, "reads records"),
    "watching": (None, "measures trainings that are not this package's runs"),
}
"""Module or room, by its path in the package -> the first purpose whose numbers it can change
(None: no recorded number), and why. The longest path that fits a module decides."""


def entry_of(module: str) -> str | None:
    """The key of MODULES that decides for a module, by its path in the package."""
    fits = [path for path in MODULES if module == path or module.startswith(f"{path}/")]
    return max(fits, key=len, default=None)


@cache
def code_version(purpose: str = "run", package: Path = PACKAGE) -> str:
    """The package's version and a hash of its code, such as 0.2.0+1f2e3d4c.

    Hashed are the syntax trees of the modules that can change a number recorded for
    `purpose`, without comments, docstrings and layout: unlike a commit id it changes with
    every edit that may change a number, committed or not, and with nothing else. A module
    that MODULES does not name counts.
    """
    wanted = (*PURPOSES[: PURPOSES.index(purpose) + 1], "unknown")
    counted = []
    for path in package.rglob("*.py"):
        entry = entry_of(path.relative_to(package).as_posix())
        if (MODULES[entry][0] if entry else "unknown") in wanted:
            counted.append(path)
    return f"{__version__}+{hash_of(counted)}"


def hash_of(files: Iterable[Path]) -> str:
    """Eight hexadecimal digits of the syntax trees of Python files, whatever their order.

    Raises:
        SyntaxError: a file is no Python.
    """
    trees = []
    for path in files:
        parts: list[str] = []
        _write_syntax(ast.parse(path.read_bytes()), parts)
        trees.append("".join(parts))
    return hashlib.sha256("\n".join(sorted(trees)).encode()).hexdigest()[:8]


def _write_syntax(node: object, parts: list[str]) -> None:
    """A tree as text that is the same in every version of Python: empty fields are left out."""
    if isinstance(node, ast.AST):
        parts.append(f"({type(node).__name__}")
        for name in node._fields:
            value = getattr(node, name)
            if name != "ctx" and value is not None and value != []:
                parts.append(f" {name}=")
                _write_syntax(value, parts)
        parts.append(")")
    elif isinstance(node, list):
        parts.append("[")
        for item in node:
            if not _is_text(item):
                _write_syntax(item, parts)
        parts.append("]")
    else:
        parts.append(repr(node))


def _is_text(node: object) -> bool:
    """Whether a statement is a string alone: a docstring, of whatever it stands below."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


@cache
def git_commit() -> str | None:
    """The commit of the checkout that this code runs from; None outside of git."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=PACKAGE,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


def host() -> str:
    """The machine's name, as recorded with each attempt."""
    return platform.node()


@cache
def machine() -> str:
    """The processor and how many cores of it, such as AMD EPYC-Rome, 2 cores."""
    model = _cpuinfo("model name") or platform.processor() or platform.machine()
    return f"{model}, {os.cpu_count()} cores"


INSTRUCTIONS = {
    "amx_tile": "AMX",
    "avx512_bf16": "AVX512_BF16",
    "avx512dq": "AVX512",
    "avx2": "AVX2",
}
"""Flag of a processor -> the set of instructions that it stands for, the best first."""


def best_instructions() -> str | None:
    """The best of INSTRUCTIONS that the processor has; None where that is not known."""
    flags = (_cpuinfo("flags") or "").split()
    return next((name for flag, name in INSTRUCTIONS.items() if flag in flags), None)


def _cpuinfo(key: str) -> str | None:
    """What Linux says of the first core."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(key):
                return line.partition(":")[2].strip()
    return None
