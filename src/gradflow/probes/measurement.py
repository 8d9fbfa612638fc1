"""Measured steps, from tensors on the device to rows of the records' tables."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from gradflow.probes.details import BINS
from gradflow.probes.sites import Layer
from gradflow.records.quantities import QUANTITIES, SUMS

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Slot = tuple[int, int, int]
"""Of a value of the piece "blocks": its place in `quantities.SUMS`, its row, how many elements."""


@dataclass
class Measurement:
    """What was measured at one step.

    Attributes:
        with_gradient, with_norm: the indices of the layers that had a gradient, and a norm.
        rows: the name of each row of blocks, and why values of it are null.
        within: layer -> the row that it belongs to.
        slots: of the values of the piece "blocks".
        pieces: name -> float64 values on the device, in the order in which they are copied.
    """

    step: int
    details: bool
    with_gradient: list[int] = field(default_factory=list)
    with_norm: list[int] = field(default_factory=list)
    rows: list[tuple[str, str | None]] = field(default_factory=list)
    within: dict[int, int] = field(default_factory=dict)
    slots: list[Slot] = field(default_factory=list)
    pieces: dict[str, Tensor] = field(default_factory=dict)

    def copied(self, step: int) -> "Measurement":
        """The same values as they are now, of another step."""
        pieces = {name: piece.clone() for name, piece in self.pieces.items()}
        return replace(self, step=step, pieces=pieces)


def to_tables(measurements: Sequence[Measurement], layers: Sequence[Layer]) -> dict[str, pa.Table]:
    """Rows of `layers`, `blocks` and their details, without a run_id; one copy to the host.

    A value that was not there to be measured is null; Inf and NaN stay what they are.
    """
    if not measurements:
        return {}
    tensors = [piece.flatten() for m in measurements for piece in m.pieces.values()]
    host = torch.cat(tensors).cpu().numpy()
    parts = iter(np.split(host, np.cumsum([len(piece) for piece in tensors])[:-1]))
    rows: dict[str, list[pa.Table]] = {}
    for m in measurements:
        values = {name: next(parts) for name in m.pieces}
        names = _layer_names(m, layers)
        tables = {"layers": names | _layers(m, values, len(layers))}
        if m.details:
            tables["layer_details"] = names | _layer_details(m, values, len(layers))
        if m.rows:
            passes = _Passes(m, values)
            tables["blocks"] = _of_blocks("blocks", m, passes)
            if m.details:
                tables["block_details"] = _of_blocks("block_details", m, passes)
                network = _of_blocks("network_details", m, passes)
                del network["block_index"]
                tables["network_details"] = {k: column[:1] for k, column in network.items()}
        for name, columns in tables.items():
            length = len(next(iter(columns.values())))
            step = pa.array(np.full(length, m.step, dtype=np.int32))
            rows.setdefault(name, []).append(pa.table({"step": step, **columns}))
    # A column of nothing but nulls has no type of its own.
    return {
        name: pa.concat_tables(tables, promote_options="permissive")
        for name, tables in rows.items()
    }


def _layer_names(m: Measurement, layers: Sequence[Layer]) -> dict[str, pa.Array]:
    return {
        "layer_index": pa.array([layer.index for layer in layers], pa.int32()),
        "layer_name": pa.array([layer.name for layer in layers]),
        "block_index": pa.array([m.within.get(layer.index) for layer in layers], pa.int32()),
        "kind": pa.array([layer.kind for layer in layers]),
    }


def _layers(m: Measurement, values: dict[str, Floats], count: int) -> dict[str, pa.Array]:
    columns = {
        "grad_norm": _scattered(values["gradient"], m.with_gradient, count),
        "weight_norm": _scattered(values["weight"], m.with_norm, count),
        "update_norm": pa.nulls(count, pa.float64()),
    }
    if "update" in values:
        columns["update_norm"] = _scattered(values["update"], m.with_norm, count)
    return columns


def _layer_details(m: Measurement, values: dict[str, Floats], count: int) -> dict[str, pa.Array]:
    counts = values["distribution"].reshape(-1, 1 + BINS)
    share = counts[:, 0] / counts.sum(axis=1)
    histograms: list[list[int] | None] = [None] * count
    for index, row in zip(m.with_gradient, counts, strict=True):
        histograms[index] = row[1:].astype(np.int64).tolist()
    return {
        "zero_fraction": _scattered(share, m.with_gradient, count),
        "histogram": pa.array(histograms, pa.list_(pa.int64())),
    }


class _Passes:
    """A step's values of blocks, summed over its passes: [rows] values and counts of each of
    `quantities.SUMS`; a count of 0 says that nothing was measured."""

    def __init__(self, m: Measurement, values: dict[str, Floats]):
        rows = len(m.rows)
        self.scale = float(values["loss_scale"][0])
        slots = np.array(m.slots, dtype=np.int64).reshape(-1, 3)
        places, size = slots[:, 0] * rows + slots[:, 1], len(SUMS) * rows
        sums = np.bincount(places, values["blocks"], size).reshape(-1, rows)
        counts = np.bincount(places, slots[:, 2], size).reshape(-1, rows)
        self.sums = dict(zip(SUMS, sums, strict=True))
        self.counts = dict(zip(SUMS, counts, strict=True))

    def reduced(self, reduction: str, of: tuple[str, ...]) -> pa.Array:
        """See `quantities.Quantity`."""
        first = of[0]
        there = self.counts[first] > 0
        mean = self.sums[first] / np.where(there, self.counts[first], 1)
        match reduction:
            case "root_mean":
                return _masked(np.sqrt(mean), there)
            case "mean" | "ratio":
                return _masked(mean, there)
            case "norm":
                return _masked(np.sqrt(self.sums[first]) / self.scale, there)
            case "share":
                part, rest, whole = (self.sums[name] for name in of)
                with np.errstate(invalid="ignore", divide="ignore"):
                    share = (1 + (part - rest) / whole) / 2
                return _masked(share, there & (whole != 0))
            case "shares":
                return self._shares(of)
        raise ValueError(f"reduction={reduction}")

    def _shares(self, of: tuple[str, ...]) -> pa.Array:
        """Of each that was measured, in their sum; null if nothing was, or the sum is 0."""
        there = np.array([self.counts[name] > 0 for name in of])
        parts = np.array([self.sums[name] for name in of])
        shares: list[list[float] | None] = []
        for row, known in zip(parts.T, there.T, strict=True):
            whole = row[known].sum()
            shares.append((row[known] / whole).tolist() if known.any() and whole != 0 else None)
        return pa.array(shares, pa.list_(pa.float64()))


def _of_blocks(table: str, m: Measurement, passes: _Passes) -> dict[str, pa.Array]:
    columns = {"block_index": pa.array(np.arange(len(m.rows), dtype=np.int32))}
    text = dict(zip(("block_name", "reason"), zip(*m.rows, strict=True), strict=True))
    for quantity in QUANTITIES:
        if quantity.table == table:
            if quantity.reduction == "text":
                columns[quantity.name] = pa.array(text[quantity.name], pa.string())
            elif quantity.reduction != "examples":
                columns[quantity.name] = passes.reduced(quantity.reduction, quantity.of)
    return columns


def _scattered(values: Floats, indices: Sequence[int], count: int) -> pa.Array:
    full, there = np.zeros(count), np.zeros(count, dtype=bool)
    full[list(indices)], there[list(indices)] = values, True
    return _masked(full, there)


def _masked(values: Floats, there: Bools) -> pa.Array:
    return pa.array(values, mask=~there)
