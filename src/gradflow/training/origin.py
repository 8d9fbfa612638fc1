"""What decides a run's bits besides its config: code, torch version, instruction set."""

import os
import platform
from functools import cache
from typing import NamedTuple

import torch

from gradflow.core import provenance
from gradflow.core.provenance import best_instructions, code_version

CAPS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")
"""Environment variables that hold oneDNN (convolutions) and MKL (matrix products) to less than
the processor has: oneDNN's guide, CPU dispatcher control; MKL's, instruction set dispatching."""


class Origin(NamedTuple):
    """Equal where a resume is exact."""

    code_version: str
    torch_version: str
    instruction_set: str

    def __str__(self) -> str:
        return f"code {self.code_version}, torch {self.torch_version}, {self.instruction_set}"


def present_origin(device: str) -> Origin:
    """This process's."""
    return Origin(code_version(), str(torch.__version__), instruction_set(device))


@cache
def instruction_set(device: str) -> str:
    """What the kernels were made for, which decides how sums round.

    On a CPU the set of torch's own kernels, such as AVX2, and in brackets what oneDNN and
    MKL go by if that is another: the best set of the processor (known on Linux alone), and
    the CAPS that are set. On a GPU its name and compute capability.
    """
    if device == "cuda":
        major, minor = torch.cuda.get_device_capability()
        return f"{torch.cuda.get_device_name()}, compute capability {major}.{minor}"
    own: str = torch.backends.cpu.get_cpu_capability()
    processor = best_instructions() or own
    others = [f"processor {processor}"] if processor != own else []
    others += [f"{name}={os.environ[name].upper()}" for name in CAPS if name in os.environ]
    return f"{own} ({', '.join(others)})" if others else own


def circumstances(device: str) -> dict[str, str | None]:
    """Columns of the attempts table: the machine, code and versions at work in this process.

    machine: the processor, and the GPU first if it does the work.
    """
    device = device if torch.cuda.is_available() else "cpu"
    gpu = f"{torch.cuda.get_device_name()}; " if device == "cuda" else ""
    return {
        "host": provenance.host(),
        "machine": f"{gpu}{provenance.machine()}",
        **present_origin(device)._asdict(),
        "git_commit": provenance.git_commit(),
        "python_version": platform.python_version(),
    }
