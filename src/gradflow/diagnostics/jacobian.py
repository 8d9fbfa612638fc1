"""Singular values of the Jacobian: of each block, of all blocks together, of the network.

All of them, by NumPy, if the matrix is small; else the largest, by Lanczos' method from a
random start, each with a bound of its error. A network all of whose singular values are near 1
is a dynamical isometry (Saxe et al. 2014; Pennington et al. 2017). Where nothing comes through,
all are 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from gradflow.config.diagnostics import Columns, DiagnosticConfig
from gradflow.config.needs import Need
from gradflow.config.registry import register
from gradflow.config.validation import choice, number
from gradflow.core.errors import GradflowError
from gradflow.core.seeds import derive_seed

if TYPE_CHECKING:
    from torch import Tensor

    from gradflow.training.frozen import Frozen

Array = npt.NDArray[np.float64]
Map = Callable[["Tensor"], "Tensor"]
"""[N, ...] -> [N, ...], each example on its own."""


@dataclass(frozen=True)
class JacobianConfig(DiagnosticConfig):
    """Singular values: all if a side has up to `exact_up_to` numbers, else the largest."""

    TABLES: ClassVar[dict[str, Columns]] = {
        # One row per singular value; part is network, blocks (all together) or block.
        "singular_values": {
            "part": "string",
            "block_index": "int32",
            "example": "int32",
            "rank": "int32",
            "value": "float64",
            "error": "float64",  # a bound
            "is_whole": "bool",  # whether all values are there
        }
    }
    EXACT: ClassVar[bool] = True
    NEEDS: ClassVar[tuple[Need, ...]] = ("gradient by the input", "blocks", "chain")

    name: str = choice("jacobian")
    at: str = choice("both", "initialization", "final")
    examples: int = number(2, at_least=1)  # of the images, whose Jacobians are taken
    exact_up_to: int = number(1024, at_least=1)
    values: int = number(16, at_least=1)  # how many if not all


class Spectrum(NamedTuple):
    """Singular values, the largest first.

    errors: bounds; there is a true singular value within so much of each.
    is_whole: whether these are all of them.
    """

    values: Array
    errors: Array
    is_whole: bool


@register(JacobianConfig)
def diagnose_jacobian(frozen: Frozen, config: JacobianConfig) -> dict[str, dict[str, list[Any]]]:
    """Table `singular_values`: a row per value of a part of the network at one image."""
    import torch

    from gradflow.training.frozen import block_inputs, check_inputs

    check_inputs(frozen.images)
    network, images = frozen.network, frozen.images[: config.examples]
    with torch.no_grad():
        places = block_inputs(network, images)

    def stack(x: Tensor) -> Tensor:
        return network.run_blocks(slice(None), x)

    parts: list[tuple[str, int | None, Map, Tensor]] = [
        ("network", None, network, images),
        ("blocks", None, stack, places[0]),
        *(("block", i, block, places[i]) for i, block in enumerate(network.blocks)),
    ]
    rows: dict[str, list[Any]] = {name: [] for name in config.TABLES["singular_values"]}
    for part, index, function, inputs in parts:
        for example in range(len(images)):
            found = spectrum(
                function,
                inputs[example],
                exact_up_to=config.exact_up_to,
                values=config.values,
                seed=derive_seed(frozen.seed, "spectrum", example),
            )
            count = len(found.values)
            rows["part"] += [part] * count
            rows["block_index"] += [index] * count
            rows["example"] += [example] * count
            rows["rank"] += range(count)
            rows["value"] += found.values.tolist()
            rows["error"] += found.errors.tolist()
            rows["is_whole"] += [found.is_whole] * count
    return {"singular_values": rows}


def spectrum(
    function: Map, x: Tensor, *, exact_up_to: int = 1024, values: int = 16, seed: int = 0
) -> Spectrum:
    """Singular values of d function / d x at one example x [...], of float64 for full accuracy.

    Args:
        exact_up_to: the smaller side of the matrix up to which all are computed.
        values: how many of the largest are otherwise.
    """
    import torch

    with torch.no_grad():
        shape = (function(x[None])[0].numel(), x.numel())
    if min(shape) <= max(exact_up_to, values):
        exact = np.linalg.svd(jacobian(function, x), compute_uv=False)
        found = np.asarray(exact, dtype=np.float64)
        # Backward stable: within a small multiple of the largest value's last digit.
        precision = float(torch.finfo(x.dtype).eps)
        return Spectrum(found, np.full(len(found), found[0] * precision * max(shape)), True)
    return _largest(function, x, shape, values, seed)


def jacobian(function: Map, x: Tensor) -> Array:
    """[outputs, inputs] at one example x [...], float64.

    One pass over as many copies of x as there are outputs: examples do not mix.

    Raises:
        GradflowError: a number in it is Inf or NaN.
    """
    import torch

    with torch.no_grad():
        outputs = function(x[None])[0].numel()
    copies = x.detach().expand(outputs, *x.shape).contiguous().requires_grad_()
    diagonal = function(copies).flatten(1).diagonal().sum()
    [rows] = torch.autograd.grad(diagonal, copies)
    return _finite(rows.flatten(1))


def _finite(numbers: Tensor) -> Array:
    if not numbers.isfinite().all():
        raise GradflowError("jacobian: a derivative of the network is Inf or NaN")
    return numbers.double().cpu().numpy()


def _largest(function: Map, x: Tensor, shape: tuple[int, int], values: int, seed: int) -> Spectrum:
    import torch
    from scipy.sparse.linalg import LinearOperator, svds

    from gradflow.training.frozen import twice_differentiable

    point = x[None].detach().requires_grad_()
    with twice_differentiable():
        y = function(point)
    # <dy, u> is linear in u, so its gradient by u, along v, is J v: two backward passes.
    dummy = torch.zeros_like(y, requires_grad=True)
    [pulled] = torch.autograd.grad(y, point, dummy, create_graph=True)

    def forward(v: Array) -> Array:
        along = torch.from_numpy(np.asarray(v)).to(x).reshape(point.shape)
        [pushed] = torch.autograd.grad(pulled, dummy, along, retain_graph=True)
        return _finite(pushed.detach().flatten())

    def backward(u: Array) -> Array:
        along = torch.from_numpy(np.asarray(u)).to(x).reshape(y.shape)
        [back] = torch.autograd.grad(y, point, along, retain_graph=True)
        return _finite(back.detach().flatten())

    operator = LinearOperator(shape, matvec=forward, rmatvec=backward, dtype=np.float64)
    rng = np.random.default_rng(seed)
    start = np.random.default_rng(seed).standard_normal(shape[1])
    size = float(np.abs(forward(start)).max())
    if size == 0:  # ARPACK refuses a zero map
        return Spectrum(np.zeros(values), np.zeros(values), False)
    # ARPACK works on squares and takes those below 1e-11 for converged. A power of 2 is exact.
    unit = 2.0 ** max(math.frexp(size)[1], -1000)
    scaled = operator * (1 / unit)
    left, found, right = svds(scaled, k=values, rng=rng)
    order = np.argsort(found)[::-1]
    left, found, right = left[:, order], found[order], right[order]
    # With u and v of length 1, |J v - s u|^2 + |J^T u - s v|^2 bounds the distance squared from s
    # to the nearest singular value (Weyl, of the matrix [[0, J], [J^T, 0]]).
    errors = [
        np.hypot(
            np.linalg.norm(scaled.matvec(right[i]) - found[i] * left[:, i]),
            np.linalg.norm(scaled.rmatvec(left[:, i]) - found[i] * right[i]),
        )
        / np.sqrt(2)
        for i in range(len(found))
    ]
    return Spectrum(unit * np.asarray(found, dtype=np.float64), unit * np.array(errors), False)
