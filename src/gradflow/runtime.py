"""Seeds by purpose, and torch's process-wide settings."""

import ctypes
import gc
import hashlib
import os
import sys
from typing import TYPE_CHECKING

from gradflow.config import RunConfig
from gradflow.errors import GradflowError

if TYPE_CHECKING:
    import torch


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


def weights_dtype(config: RunConfig) -> "torch.dtype":
    """Of weights, gradients and data: float64 where that is asked for, else float32."""
    import torch

    return torch.float64 if config.dtype == "float64" else torch.float32


def prepare_torch(config: RunConfig) -> None:
    """Set torch's threads, precision and deterministic algorithms for this process.

    Raises:
        GradflowError: `device=cuda` on a machine without a CUDA device.
    """
    import torch

    if config.device == "cuda" and not torch.cuda.is_available():
        raise GradflowError("device=cuda: no CUDA device here; use device=cpu")
    keep_freed_memory()
    torch.set_num_threads(config.threads)
    # What use_deterministic_algorithms(True) does, without its import of the compiler (2 s),
    # and without filling new memory, for nothing here reads what was not written.
    torch.set_deterministic_debug_mode("error")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # Deterministic matrix products on CUDA; read when its first handle is made.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.allow_tf32 = config.dtype == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = config.dtype == "tf32"


def keep_freed_memory() -> None:
    """Have the C library keep what is freed, for the next step takes the same again.

    glibc gives large blocks back to the system at once and is handed them anew, page by
    page: up to half of a step's time where the limits are small (Dask's workers), a tenth
    with glibc's own. Does nothing on other systems.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3  # malloc.h
        mallopt(trim_threshold, 2**30)
        mallopt(mmap_threshold, 2**30)


def give_back_freed_memory() -> None:
    """Have the C library return to the system what `keep_freed_memory` made it keep.

    Does nothing on systems without glibc.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        gc.collect()
        trim(0)
