"""Monte Carlo arithmetic: rounding to few bits at random, in float64, without the few bits.

What bfloat16 may do to a result is what random roundings of its size do (Parker, Monte Carlo
Arithmetic, 1997), whichever kernels a processor has for it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import scipy.stats
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

UNIT = 2.0**-8  # of bfloat16: a number and its rounded one differ by at most this share
FALSE_ALARMS = 1e-4  # of a comparison of all quantities together, if roundings are random
PRODUCTS = {torch.conv2d, F.linear}  # autocast rounds what they multiply, and its gradients
ROUNDED = {*PRODUCTS, F.batch_norm, F.adaptive_avg_pool2d, Tensor.add, Tensor.mean}


class _Round(torch.autograd.Function):
    """x (1 + UNIT u), u uniform in -1 ... 1 and drawn for each element; its gradient likewise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, draw: torch.Generator) -> Tensor:
        ctx.draw = draw
        return x * (1 + UNIT * (2 * torch.rand(x.shape, generator=draw, dtype=x.dtype) - 1))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Round.forward(ctx, gradient, ctx.draw), None


class RandomRounding(TorchFunctionMode):
    """Within it, networks compute as under bfloat16 autocast, with roundings drawn from a seed."""

    def __init__(self, seed: int):
        super().__init__()
        self.draw = torch.Generator().manual_seed(seed)

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in PRODUCTS:  # biases, vectors, are added unrounded
            args = [_Round.apply(a, self.draw) if _is_matrix(a) else a for a in args]  # type: ignore[no-untyped-call]  # torch's
        found = func(*args, **(kwargs or {}))
        return _Round.apply(found, self.draw) if func in ROUNDED else found  # type: ignore[no-untyped-call]  # torch's


def _is_matrix(x: Any) -> bool:
    return isinstance(x, Tensor) and x.ndim > 1


def assert_rounded_to_bfloat16(
    found: npt.ArrayLike, exact: npt.ArrayLike, drawn: Callable[[], npt.ArrayLike], draws: int = 16
) -> None:
    """`found` is off as `drawn` under random rounding is: no more, and not by less than a tenth.

    Each quantity within the prediction interval of the draws (Student's t; Bonferroni over
    quantities). Float32's own error would be 2^-16 as large.
    """
    samples = []
    for seed in range(draws):
        # A second backward pass is rounded anew, which the probes' self-check would notice.
        with RandomRounding(seed), mock.patch("gradflow.probes.ledger.UNITS", math.inf):
            samples.append(np.asarray(drawn(), dtype=float))
    mean, deviation = np.mean(samples, axis=0), np.std(samples, axis=0, ddof=1)
    reach = scipy.stats.t.ppf(1 - FALSE_ALARMS / 2 / len(mean), draws - 1)
    off = np.asarray(found, dtype=float) - mean
    assert (np.abs(off) <= reach * deviation * np.sqrt(1 + 1 / draws)).all(), off / deviation
    share = (np.asarray(found, dtype=float) - np.asarray(exact, dtype=float)) / deviation
    assert np.sqrt(np.mean(share**2)) > 0.1, share
