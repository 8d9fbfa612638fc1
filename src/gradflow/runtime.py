"""Seeds by purpose, torch's process-wide settings, and what code and machine a run is from."""

import hashlib
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from gradflow.config import RunConfig
from gradflow.errors import GradflowError

if TYPE_CHECKING:
    import torch


PACKAGE = Path(__file__).parent


def derive_seed(seed: int, purpose: str, index: int | str = 0) -> int:
    """A 63-bit seed for one purpose of a run, such as ("order", epoch).

    Streams of different purposes are independent, so that what one part draws never
    depends on how much another part drew before it.
    """
    digest = hashlib.sha256(f"{seed}/{purpose}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def seeded(seed: int, purpose: str, index: int | str = 0) -> "torch.Generator":
    """A CPU generator for one purpose of a run."""
    import torch

    return torch.Generator().manual_seed(derive_seed(seed, purpose, index))


def prepare_torch(config: RunConfig) -> None:
    """Set torch's threads, and deterministic algorithms, for this process.

    Raises:
        GradflowError: `device=cuda` on a machine without a CUDA device.
    """
    import torch

    if config.device == "cuda" and not torch.cuda.is_available():
        raise GradflowError("device=cuda: no CUDA device here; use device=cpu")
    torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(True)


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
