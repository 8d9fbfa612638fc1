"""The Hessian of the loss by layer group: its largest eigenvalue and its trace.

Hessian-vector products by two backward passes, eigenvalues by SciPy's Lanczos method (ARPACK),
the trace by Hutchinson's estimate. Batch norms take the statistics of the images, as in training.
Where the gradient is 0 whatever the group's parameters are, as behind weights that are 0 or in a
network through which nothing comes, the Hessian is 0, and so are the eigenvalue and the trace.

Forward over reverse mode, which libraries of curvature use, would be quicker, but torch's
forward derivative of batch norm's backward pass is wrong in training mode (pytorch issue 196699;
2.13 too): eigenvalues were off by up to 3 % on a network of 6 layers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from gradflow.config.diagnostics import Columns, DiagnosticConfig
from gradflow.config.registry import register
from gradflow.config.validation import choice, number
from gradflow.core.errors import GradflowError
from gradflow.core.seeds import derive_seed

if TYPE_CHECKING:
    from scipy.sparse.linalg import LinearOperator
    from torch import nn

    from gradflow.training.frozen import Frozen

TOLERANCE = 1e-4  # of an eigenvalue, relative


@dataclass(frozen=True)
class CurvatureConfig(DiagnosticConfig):
    """The Hessian of the loss by layer group: largest eigenvalue and trace."""

    TABLES: ClassVar[dict[str, Columns]] = {
        # One row per group of layers: the Hessian by its parameters.
        "curvature": {
            "layers": "string",
            "n_parameters": "int64",
            "largest": "float64",  # eigenvalue
            "trace": "float64",
            "trace_error": "float64",  # standard error of the estimate
        }
    }
    EXACT: ClassVar[bool] = False

    name: str = choice("curvature")
    at: str = choice("both", "initialization", "final")
    images: int = number(128, at_least=2)
    vectors: int = number(32, at_least=2)  # of Hutchinson's estimate of the trace


@register(CurvatureConfig)
def diagnose_curvature(frozen: Frozen, config: CurvatureConfig) -> dict[str, dict[str, list[Any]]]:
    """Table `curvature`: a row per group of layers, the Hessian by the group's parameters alone.

    Groups: all, stem, the blocks' first, middle and last third, head.

    Raises:
        GradflowError: a second derivative is Inf or NaN.
    """
    rows: dict[str, list[Any]] = {
        name: [] for name in ("layers", "n_parameters", "largest", "trace", "trace_error")
    }
    for name, parameters in layer_groups(frozen.network).items():
        operator = hessian(frozen, parameters)
        rng = np.random.default_rng(derive_seed(frozen.seed, "curvature", name))
        start = rng.standard_normal(operator.shape[0])
        largest = largest_eigenvalue(operator, start)
        signs = rng.choice([-1.0, 1.0], (config.vectors, operator.shape[0]))
        estimates = np.array([v @ operator.matvec(v) for v in signs])
        rows["layers"].append(name)
        rows["n_parameters"].append(operator.shape[0])
        rows["largest"].append(largest)
        rows["trace"].append(float(estimates.mean()))
        rows["trace_error"].append(float(estimates.std(ddof=1) / np.sqrt(len(estimates))))
    return {"curvature": rows}


def largest_eigenvalue(operator: LinearOperator, start: npt.NDArray[np.float64]) -> float:
    """Of a symmetric operator [n, n]; relative error `TOLERANCE`.

    Args:
        start: a random vector [n]: an operator that maps it to exactly 0 is taken for 0.
    """
    from scipy.sparse.linalg import eigsh

    size = float(np.abs(operator.matvec(start)).max())
    if size == 0:  # ARPACK refuses a zero map
        return 0.0
    # ARPACK takes an eigenvalue below 1e-11 for converged; scaling by a power of 2 is exact.
    unit = 2.0 ** max(math.frexp(size)[1], -1000)
    if len(start) < 3:  # fewer than ARPACK needs
        dense = np.stack([operator.matvec(e) for e in np.eye(len(start))])
        return float(np.linalg.eigvalsh((dense + dense.T) / 2)[-1])
    [largest] = eigsh(
        operator * (1 / unit), k=1, which="LA", v0=start, tol=TOLERANCE, return_eigenvectors=False
    )
    return float(largest * unit)


def hessian(frozen: Frozen, parameters: Sequence[nn.Parameter]) -> LinearOperator:
    """The Hessian of the mean loss over the images by these parameters, all in a row.

    It is 0 by those that the loss does not depend on, such as a plain twin's projections.
    """
    import torch
    from scipy.sparse.linalg import LinearOperator

    from gradflow.training.frozen import batch_statistics, twice_differentiable

    with batch_statistics(frozen.network), twice_differentiable():
        loss, _ = frozen.loss_and_error()
    gradients = torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True)
    gradient = torch.cat([part.flatten() for part in gradients])

    def product(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        along = torch.from_numpy(np.asarray(vector)).to(gradient).flatten()
        if not gradient.requires_grad:  # it is the same whatever the parameters are
            return np.zeros(len(gradient))
        parts = torch.autograd.grad(
            gradient, parameters, along, retain_graph=True, materialize_grads=True
        )
        found = torch.cat([part.flatten() for part in parts])
        if not found.isfinite().all():
            raise GradflowError("curvature: a second derivative of the loss is Inf or NaN")
        return found.double().cpu().numpy()

    return LinearOperator((len(gradient), len(gradient)), matvec=product, dtype=np.float64)


def layer_groups(network: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Name -> trainable parameters: all of them, and those of parts of the network."""
    blocks = list(network.get_submodule("blocks").children())
    third = -(-len(blocks) // 3)
    parts: dict[str, list[nn.Module]] = {
        "all": [network],
        "stem": [network.get_submodule("stem")],
        "first blocks": blocks[:third],
        "middle blocks": blocks[third : 2 * third],
        "last blocks": blocks[2 * third :],
        "head": [network.get_submodule("head")],
    }
    groups = {
        name: [p for module in modules for p in module.parameters() if p.requires_grad]
        for name, modules in parts.items()
    }
    return {name: parameters for name, parameters in groups.items() if parameters}
