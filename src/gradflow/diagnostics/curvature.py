"""The Hessian of the loss by layer group: its largest eigenvalue and its trace.

Hessian-vector products by two backward passes, eigenvalues by SciPy's Lanczos method (ARPACK),
the trace by Hutchinson's estimate. Batch norms take the statistics of the images, as in training.

Forward over reverse mode, which libraries of curvature use, would be quicker, but torch's
forward derivative of batch norm's backward pass is wrong in training mode (pytorch issue 196699;
2.13 too): eigenvalues were off by up to 3 % on a network of 6 layers.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import nn

from gradflow.config.diagnostics import CurvatureConfig
from gradflow.core.seeds import derive_seed
from gradflow.diagnostics.frozen import Frozen, batch_statistics

TOLERANCE = 1e-4  # of an eigenvalue, relative


def diagnose_curvature(frozen: Frozen, config: CurvatureConfig) -> dict[str, dict[str, list[Any]]]:
    """Table `curvature`: a row a group of layers, the Hessian by the group's parameters alone.

    Groups: all, stem, the blocks' first, middle and last third, head.
    """
    rows: dict[str, list[Any]] = {
        name: [] for name in ("layers", "n_parameters", "largest", "trace", "trace_error")
    }
    for name, parameters in layer_groups(frozen.network).items():
        operator = hessian(frozen, parameters)
        rng = np.random.default_rng(derive_seed(frozen.seed, "curvature", name))
        start = rng.standard_normal(operator.shape[0])
        [largest] = eigsh(
            operator, k=1, which="LA", v0=start, tol=TOLERANCE, return_eigenvectors=False
        )
        signs = rng.choice([-1.0, 1.0], (config.vectors, operator.shape[0]))
        estimates = np.array([v @ operator.matvec(v) for v in signs])
        rows["layers"].append(name)
        rows["n_parameters"].append(operator.shape[0])
        rows["largest"].append(float(largest))
        rows["trace"].append(float(estimates.mean()))
        rows["trace_error"].append(float(estimates.std(ddof=1) / np.sqrt(len(estimates))))
    return {"curvature": rows}


def hessian(frozen: Frozen, parameters: Sequence[nn.Parameter]) -> LinearOperator:
    """The Hessian of the mean loss over the images by these parameters, all in a row."""
    with batch_statistics(frozen.network):
        loss, _ = frozen.loss_and_error()
    gradients = torch.autograd.grad(loss, parameters, create_graph=True)
    gradient = torch.cat([part.flatten() for part in gradients])

    def product(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        along = torch.from_numpy(np.asarray(vector)).to(gradient).flatten()
        parts = torch.autograd.grad(
            gradient, parameters, along, retain_graph=True, allow_unused=True
        )
        found = [
            torch.zeros_like(p) if part is None else part
            for p, part in zip(parameters, parts, strict=True)
        ]
        return torch.cat([part.flatten() for part in found]).double().cpu().numpy()

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
