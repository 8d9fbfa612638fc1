"""One measured step, and what those before it showed: what the rules of alerts look at."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Floats = npt.NDArray[np.float64]
Found = Mapping[str, float]
"""Place (a layer or a block) -> the value that is out of range there."""

YOUNG = 10  # measured steps in which a weight that began at 0 has no size of its own


@dataclass(frozen=True)
class Seen:
    """One measured step, null values as NaN.

    Attributes:
        present: which layers had a gradient; NaN in `gradient` says that it is not finite there.
        blocks: names of the blocks; their arrays have one more entry, of the last one's output.
        without_sum: blocks that make fewer residual sums than siblings of the same form.
    """

    step: int
    layers: list[str]
    present: npt.NDArray[np.bool_]
    gradient: Floats
    weight: Floats
    update: Floats
    blocks: list[str]
    rms: Floats
    block_gradient: Floats
    dead: Floats
    loss: float | None = None
    without_sum: Found = field(default_factory=dict)


def seen_of(
    tables: Mapping[str, pa.Table],
    step: int,
    loss: float | None = None,
    without_sum: Found | None = None,
) -> Seen:
    """What the tables of `Probes.tables` say of one step."""
    layers = tables["layers"]
    blocks, details = tables.get("blocks"), tables.get("block_details")
    gradient = layers["grad_norm"]

    def floats(table: pa.Table | None, column: str) -> Floats:
        if table is None:
            return np.zeros(0)
        values: Floats = table[column].cast(pa.float64()).to_numpy()
        return values

    return Seen(
        step,
        layers["layer_name"].to_pylist(),
        gradient.is_valid().to_numpy(),
        floats(layers, "grad_norm"),
        floats(layers, "weight_norm"),
        floats(layers, "update_norm"),
        [] if blocks is None else _names(blocks),
        floats(blocks, "input_rms"),
        floats(blocks, "input_grad_norm"),
        floats(details, "dead_fraction"),
        loss,
        without_sum or {},
    )


def _names(blocks: pa.Table) -> list[str]:
    """The blocks' names; records of older versions have their numbers alone."""
    numbers = blocks["block_index"].to_pylist()
    names = blocks["block_name"].to_pylist()
    return [n or f"block {index}" for n, index in zip(names, numbers, strict=True)]


class Past:
    """What earlier steps showed.

    Attributes:
        totals: the gradient norm over all layers of each step.
        from_zero: layers whose weight was 0 at first. Until it has a size of its own, every
            update of it is large beside it.
    """

    def __init__(self) -> None:
        self.totals: list[float] = []
        self.steps = 0
        self.from_zero: npt.NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)

    def begin(self, seen: Seen) -> None:
        """Before a step is looked at."""
        if self.steps == 0:
            self.from_zero = seen.weight == 0
        elif self.steps == YOUNG:
            self.from_zero = np.zeros_like(self.from_zero)
        self.steps += 1

    def add(self, seen: Seen) -> None:
        """Remember a step."""
        total = total_of(seen)
        if np.isfinite(total):
            self.totals.append(total)


def total_of(seen: Seen) -> float:
    """The gradient norm over all layers."""
    return float(np.sqrt(np.square(seen.gradient[seen.present]).sum()))
