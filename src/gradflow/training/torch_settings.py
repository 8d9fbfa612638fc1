"""torch's process-wide settings: threads, precision, deterministic algorithms, memory."""

import ctypes
import gc
import os
import sys

import torch

from gradflow.config import RunConfig
from gradflow.core.errors import GradflowError


def weights_dtype(config: RunConfig) -> torch.dtype:
    """Of weights, gradients and data: float64 where that is asked for, else float32."""
    return torch.float64 if config.dtype == "float64" else torch.float32


def prepare_torch(config: RunConfig) -> None:
    """Set torch's threads, precision and deterministic algorithms for this process.

    Raises:
        GradflowError: `device=cuda` on a machine without a CUDA device.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise GradflowError("device=cuda: no CUDA device here; use device=cpu")
    keep_freed_memory()
    torch.set_num_threads(config.threads)
    # What use_deterministic_algorithms(True) does, without its import of the compiler (2 s),
    # and without filling new memory, for nothing here reads what was not written.
    torch.set_deterministic_debug_mode("error")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # it is set on the module's class
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
