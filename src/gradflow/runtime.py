"""Seeds by purpose, and torch's process-wide settings."""

import ctypes
import hashlib
import os
import sys
from functools import cache
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


CAPS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")
"""Environment variables that hold oneDNN (convolutions) and MKL (matrix products) to less than
the processor has: oneDNN's guide, CPU dispatcher control; MKL's, instruction set dispatching."""


@cache
def instruction_set(device: str) -> str:
    """What the kernels were made for, which decides how sums round.

    On a CPU the set of torch's own kernels, such as AVX2, and in brackets what oneDNN and
    MKL go by if that is another: the best set of the processor, and the CAPS that are set.
    On a GPU its name and compute capability.
    """
    import torch

    if device == "cuda":
        major, minor = torch.cuda.get_device_capability()
        return f"{torch.cuda.get_device_name()}, compute capability {major}.{minor}"
    own = torch.backends.cpu.get_cpu_capability()
    processor = next(
        (
            name
            for name, is_supported in (
                ("AMX", torch.cpu._is_amx_tile_supported),
                ("AVX512_BF16", torch.cpu._is_avx512_bf16_supported),
                ("AVX512", torch.cpu._is_avx512_supported),
                ("AVX2", torch.cpu._is_avx2_supported),
            )
            if is_supported()
        ),
        own,
    )
    others = [f"processor {processor}"] if processor != own else []
    others += [f"{name}={os.environ[name].upper()}" for name in CAPS if name in os.environ]
    return f"{own} ({', '.join(others)})" if others else own


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
