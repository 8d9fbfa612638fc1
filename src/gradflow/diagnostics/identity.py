"""How near each block is to the identity (He et al. 2015, section 3.1).

Where the best map is the identity, a residual branch has to go to 0; a plain block has to learn
it.
"""

from typing import Any

import torch
from torch import Tensor

from gradflow.config.diagnostics import IdentityConfig
from gradflow.diagnostics.frozen import Frozen, block_inputs
from gradflow.networks.blocks import Block


@torch.no_grad()
def diagnose_identity(frozen: Frozen, config: IdentityConfig) -> dict[str, dict[str, list[Any]]]:
    """Table `identity`: a row a block; sizes are root mean squares over images and features.

    branch_share: |F(x)| / |S(x)|; distance: |y - S(x)| / |S(x)| of the block y; stack_distance:
    |y - S(...S(x_0))| / the same norm, from the first block on: how far the blocks so far are
    from handing on what entered the first.
    """
    places = block_inputs(frozen.network, frozen.images)
    rows: dict[str, list[Any]] = {
        "block_index": [],
        "branch_share": [],
        "distance": [],
        "stack_distance": [],
    }
    entered = places[0]
    for index, block in enumerate(frozen.network.blocks):
        assert isinstance(block, Block)
        x, y = places[index], places[index + 1]
        carried, entered = block.shortcut(x), block.shortcut(entered)
        rows["block_index"].append(index)
        rows["branch_share"].append(_ratio(block.branch(x), carried))
        rows["distance"].append(_ratio(y - carried, carried))
        rows["stack_distance"].append(_ratio(y - entered, entered))
    return {"identity": rows}


def _ratio(one: Tensor, other: Tensor) -> float:
    return float(one.double().norm() / other.double().norm())
