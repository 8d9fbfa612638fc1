"""How near each block is to the identity (He et al. 2015, section 3.1).

Where the best map is the identity, a residual branch has to go to 0; a plain block has to learn
it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from gradflow.config.diagnostics import Columns, DiagnosticConfig
from gradflow.config.needs import LACKING, Need
from gradflow.config.registry import register
from gradflow.config.validation import choice, number
from gradflow.core.errors import GradflowError

if TYPE_CHECKING:
    from torch import Tensor

    from gradflow.training.frozen import Frozen


@dataclass(frozen=True)
class IdentityConfig(DiagnosticConfig):
    """How near each block is to the identity."""

    TABLES: ClassVar[dict[str, Columns]] = {
        # One row per block; all are ratios of root mean squares.
        "identity": {
            "block_index": "int32",
            "branch_share": "float64",
            "distance": "float64",
            "stack_distance": "float64",
        }
    }
    EXACT: ClassVar[bool] = False
    NEEDS: ClassVar[tuple[Need, ...]] = ("blocks", "chain", "shape")

    name: str = choice("identity")
    at: str = choice("both", "initialization", "final")
    images: int = number(256, at_least=2)


@register(IdentityConfig)
def diagnose_identity(frozen: Frozen, config: IdentityConfig) -> dict[str, dict[str, list[Any]]]:
    """Table `identity`: a row per block; sizes are root mean squares over images and features.

    branch_share: |F(x)| / |S(x)|; distance: |y - S(x)| / |S(x)| of the block y; stack_distance:
    |y - S(...S(x_0))| / the same norm, from the first block on: how far the blocks so far are
    from the shortcuts alone. Over a shortcut that carries 0 a ratio is Inf, or NaN if both are 0.

    Raises:
        GradflowError: what follows a block's addition changes its shape.
    """
    import torch

    from gradflow.networks.blocks import Block
    from gradflow.training.frozen import block_inputs

    rows: dict[str, list[Any]] = {name: [] for name in config.TABLES["identity"]}
    with torch.no_grad():
        places = block_inputs(frozen.network, frozen.images)
        entered = places[0]
        for index, block in enumerate(frozen.network.blocks):
            assert isinstance(block, Block)
            x, y = places[index], places[index + 1]
            carried, entered = block.shortcut(x), block.shortcut(entered)
            if carried.shape != y.shape:
                raise GradflowError(LACKING["shape"])
            rows["block_index"].append(index)
            rows["branch_share"].append(_ratio(block.branch(x), carried))
            rows["distance"].append(_ratio(y - carried, carried))
            rows["stack_distance"].append(_ratio(y - entered, entered))
    return {"identity": rows}


def _ratio(one: Tensor, other: Tensor) -> float:
    return float(one.double().norm() / other.double().norm())
