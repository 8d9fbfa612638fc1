"""Sums of squares and norms: fast where float32 is safe, in float64 where it is not."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Scalar = float | Tensor
"""A number: a float where it was computed on the host anyway, else a scalar on its device."""

# np.vdot, unlike np.dot, does not warn of what overflows: it is computed again, and Inf is
# recorded as such.

# Between these, no square of an element that matters has left the range of float32.
SMALLEST, LARGEST = 1e-24, 1e36
CHUNK = 2**15  # elements that are summed in float32 (good to 1e-7) before float64 takes over
SMALL = 2 * CHUNK  # up to so many, torch's own float32 norm is as good


def square(x: Tensor) -> Scalar:
    """The sum of the squares of a tensor's elements.

    Of a float32 tensor on a CPU in float32 within chunks that the cache holds, and over
    chunks in float64: faster than torch's own norm and 1e-7 accurate where that loses 1e-5
    on a million elements. A result near the ends of float32's range, where squares over-
    or underflow, is computed again in float64, so that a gradient of 1e-30 is not mistaken
    for none.
    """
    x = x.detach()
    if x.dtype is not torch.float32:
        x = _real(x)
        if x.dtype in (torch.float16, torch.bfloat16):
            x = x.float()
    if not x.is_cpu:
        return _exact(x).square()
    flat = x.numpy().ravel("K")
    if len(flat) <= CHUNK:
        found = float(np.vdot(flat, flat))
    else:
        parts = (flat[i : i + CHUNK] for i in range(0, len(flat), CHUNK))
        found = sum(float(np.vdot(part, part)) for part in parts)
    return found if _is_safe(found, x) else _in_float64(flat)


def squares_of_parts(total: Tensor, part: Tensor) -> tuple[Scalar, Scalar, Scalar]:
    """The sums of squares of `total`, of `part` and of their difference.

    On a CPU chunk by chunk, so that memory is read once and the difference never written.
    """
    total, part = total.detach(), part.detach()
    if total.dtype is not torch.float32:
        total, part = _real(total), _real(part)
        if total.dtype in (torch.float16, torch.bfloat16):
            total, part = total.float(), part.float()
    if not total.is_cpu or total.stride() != part.stride() or total.dtype != part.dtype:
        return square(total), square(part), square(total - part)
    t, p = total.numpy().ravel("K"), part.numpy().ravel("K")
    sums = [0.0, 0.0, 0.0]
    with np.errstate(all="ignore"):
        for start in range(0, len(t), CHUNK):
            u, v = t[start : start + CHUNK], p[start : start + CHUNK]
            rest = u - v
            sums[0] += float(np.vdot(u, u))
            sums[1] += float(np.vdot(v, v))
            sums[2] += float(np.vdot(rest, rest))
    for index, found in enumerate(sums):
        if not _is_safe(found, total):
            sums[index] = _in_float64((t, p, t - p)[index])
    return sums[0], sums[1], sums[2]


@torch.no_grad()
def norms(tensors: Sequence[Tensor], like: Tensor | None = None) -> Tensor:
    """The Frobenius norm of each tensor: [len(tensors)], float64, in one fused reduction.

    Args:
        like: says on which device the norms of no tensors are.
    """
    if not tensors:
        return torch.zeros(0, dtype=torch.float64, device=None if like is None else like.device)
    if are_small(tensors):
        found = torch.stack(torch._foreach_norm(list(tensors))).double()
        low, high = (float(end) for end in found.aminmax())
        if low**2 > SMALLEST and high**2 < LARGEST:
            return found
    dense = [_real(t.coalesce().values() if t.is_sparse else t) for t in tensors]
    return torch.stack(torch._foreach_norm(dense, 2, torch.float64))


def are_small(tensors: Sequence[Tensor]) -> bool:
    """Whether each is dense, float32, on a CPU and of no more than `SMALL` elements."""
    return all(
        t.dtype is torch.float32 and t.layout is torch.strided and t.is_cpu and t.numel() <= SMALL
        for t in tensors
    )


def roots(flat: Sequence[npt.NDArray[Any]]) -> Tensor:
    """`norms` of small float32 arrays."""
    squares = np.array([np.vdot(x, x) for x in flat], dtype=np.float64)
    for index in np.flatnonzero(~((squares > SMALLEST) & (squares < LARGEST))).tolist():
        squares[index] = _in_float64(flat[index])
    return torch.from_numpy(np.sqrt(squares))


def has_norm(tensor: Tensor) -> bool:
    """Whether a tensor's elements are numbers: not those of a quantized one."""
    return tensor.is_complex() or (tensor.is_floating_point() and tensor.element_size() > 1)


def total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """The norm of all tensors together, a float64 scalar; 0 of none."""
    if not tensors:
        return torch.zeros((), dtype=torch.float64)
    return _exact(norms(tensors))


def as_tensor(values: Sequence[Scalar], device: torch.device) -> Tensor:
    """[len(values)], float64, on the device; nothing is copied from it, and to a GPU nothing
    either: a CUDA graph may not read the host's memory."""
    if device.type == "cpu" and set(map(type, values)) <= {float}:
        return torch.from_numpy(np.array(values, dtype=np.float64))
    return torch.stack([_scalar(v, device) for v in values])


def _scalar(value: Scalar, device: torch.device) -> Tensor:
    if isinstance(value, Tensor):
        return value.to(device, torch.float64)
    return torch.full((), value, dtype=torch.float64, device=device)


def _real(x: Tensor) -> Tensor:
    """A complex tensor as one of twice as many real numbers, of the same norm."""
    return torch.view_as_real(x.resolve_conj()) if x.is_complex() else x


def _exact(x: Tensor) -> Tensor:
    size: Tensor = torch.linalg.vector_norm(x, dtype=torch.float64)
    return size


def _is_safe(found: float, x: Tensor) -> bool:
    return SMALLEST < found < LARGEST or x.dtype != torch.float32


def _in_float64(flat: npt.NDArray[Any]) -> float:
    parts = (flat[i : i + CHUNK].astype(np.float64) for i in range(0, len(flat), CHUNK))
    return sum(float(np.vdot(part, part)) for part in parts)
