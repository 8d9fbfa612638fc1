"""What code and what machine a run is from."""

import contextlib
import hashlib
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

PACKAGE = Path(__file__).parent


@cache
def code_version() -> str:
    """The package's version and a hash of its source, such as 0.1.0+1f2e3d4c.

    Unlike a commit id it changes with every edit of the code, committed or not, and with
    nothing else.
    """
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(f"{path.relative_to(PACKAGE)}\n".encode() + path.read_bytes())
    return f"{version('gradflow')}+{digest.hexdigest()[:8]}"


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
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{model}, {os.cpu_count()} cores"
