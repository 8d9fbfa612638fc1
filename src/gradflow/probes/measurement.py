"""Measured steps, from tensors on the device to rows of the records' tables."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from gradflow.probes import ledger
from gradflow.probes.details import BINS
from gradflow.probes.sites import Layer

Floats = npt.NDArray[np.float64]


@dataclass
class Measurement:
    """What was measured at one step.

    Attributes:
        with_gradient: the indices of the layers that had a gradient.
        slots, counts: of the values of the piece "blocks", see `ledger.Watch`.
        pieces: name -> float64 values on the device, in the order in which they are copied.
    """

    step: int
    details: bool
    with_gradient: list[int] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    pieces: dict[str, Tensor] = field(default_factory=dict)

    def copied(self, step: int) -> "Measurement":
        """The same values as they are now, of another step."""
        pieces = {name: piece.clone() for name, piece in self.pieces.items()}
        return replace(self, step=step, pieces=pieces)


def to_tables(
    measurements: Sequence[Measurement], layers: Sequence[Layer], blocks: int
) -> dict[str, pa.Table]:
    """Rows of `layers`, `blocks` and their details, without a run_id; one copy to the host.

    A value that was not there to be measured is null; Inf and NaN stay what they are.
    """
    if not measurements:
        return {}
    tensors = [piece.flatten() for m in measurements for piece in m.pieces.values()]
    host = torch.cat(tensors).cpu().numpy()
    parts = iter(np.split(host, np.cumsum([len(piece) for piece in tensors])[:-1]))
    names = _layer_names(layers)
    rows: dict[str, list[pa.Table]] = {}
    for measurement in measurements:
        values = {name: next(parts) for name in measurement.pieces}
        tables = {"layers": names | _layers(measurement, values, len(layers))}
        if measurement.details:
            tables["layer_details"] = names | _layer_details(measurement, values, len(layers))
        if blocks:
            passes = _Passes(measurement, values, blocks + 1)
            tables["blocks"] = _blocks(passes)
            if measurement.details:
                tables["block_details"] = _block_details(passes)
                tables["network_details"] = _network_details(passes)
        for name, columns in tables.items():
            length = len(next(iter(columns.values())))
            step = pa.array(np.full(length, measurement.step, dtype=np.int32))
            rows.setdefault(name, []).append(pa.table({"step": step, **columns}))
    return {name: pa.concat_tables(tables) for name, tables in rows.items()}


def _layer_names(layers: Sequence[Layer]) -> dict[str, pa.Array]:
    return {
        "layer_index": pa.array([layer.index for layer in layers], pa.int32()),
        "layer_name": pa.array([layer.name for layer in layers]),
        "block_index": pa.array([layer.block_index for layer in layers], pa.int32()),
        "kind": pa.array([layer.kind for layer in layers]),
    }


def _layers(m: Measurement, values: dict[str, Floats], count: int) -> dict[str, pa.Array]:
    return {
        "grad_norm": _scattered(values["gradient"], m.with_gradient, count),
        "weight_norm": pa.array(values["weight"]),
        "update_norm": pa.array(values["update"]) if "update" in values else pa.nulls(count),
    }


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
    """A step's values of blocks, summed over its passes.

    `of(quantity)` gives [rows] values and whether each was measured.
    """

    def __init__(self, m: Measurement, values: dict[str, Floats], rows: int):
        self.rows = rows
        self.scale = float(values["loss_scale"][0])
        slots = np.array(m.slots, dtype=np.int64)
        size = ledger.QUANTITIES * rows
        self.sums = np.bincount(slots, values["blocks"], size).reshape(-1, rows)
        self.counts = np.bincount(slots, m.counts, size).reshape(-1, rows)

    def of(self, quantity: int) -> tuple[Floats, npt.NDArray[np.bool_]]:
        return self.sums[quantity], self.counts[quantity] > 0

    def mean(self, quantity: int) -> pa.Array:
        """The mean of squares where `quantity` is a norm, else of values."""
        total, there = self.of(quantity)
        return _masked(total / np.where(there, self.counts[quantity], 1), there)

    def root_mean(self, quantity: int) -> pa.Array:
        total, there = self.of(quantity)
        return _masked(np.sqrt(total / np.where(there, self.counts[quantity], 1)), there)

    def gradient(self, quantity: int) -> pa.Array:
        total, there = self.of(quantity)
        return _masked(np.sqrt(total) / self.scale, there)


def _blocks(passes: _Passes) -> dict[str, pa.Array]:
    total, _ = passes.of(ledger.TOTAL)
    skip, skipped = passes.of(ledger.SKIP)
    rest, measured = passes.of(ledger.REST)
    # Where a ledger was taken and nothing came over the shortcut, the skip part is 0.
    skip_norm = _masked(np.sqrt(skip) / passes.scale, measured | skipped)
    return {
        "block_index": pa.array(np.arange(passes.rows, dtype=np.int32)),
        "input_rms": passes.root_mean(ledger.INPUT),
        "branch_rms": passes.root_mean(ledger.BRANCH),
        "input_grad_norm": passes.gradient(ledger.TOTAL),
        "skip_grad_norm": skip_norm,
        "branch_grad_norm": passes.gradient(ledger.REST),
        "skip_share": _share(skip, rest, total, measured),
    }


def _block_details(passes: _Passes) -> dict[str, pa.Array]:
    return {
        "block_index": pa.array(np.arange(passes.rows, dtype=np.int32)),
        "input_mean": passes.mean(ledger.MEAN),
        "input_variance": passes.mean(ledger.VARIANCE),
        "dead_fraction": passes.mean(ledger.DEAD),
    }


def _network_details(passes: _Passes) -> dict[str, pa.Array]:
    total, _ = passes.of(ledger.TOTAL)
    path, there = passes.of(ledger.PATH)
    rest, _ = passes.of(ledger.PATH_REST)
    first = slice(0, 1)
    return {
        "path_grad_norm": passes.gradient(ledger.PATH)[first],
        "path_share": _share(path[first], rest[first], total[first], there[first]),
    }


def _share(part: Floats, rest: Floats, total: Floats, there: npt.NDArray[np.bool_]) -> pa.Array:
    """<part, part + rest> / |part + rest|^2 from the three squares; null where that is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        share = (1 + (part - rest) / total) / 2
    return _masked(share, there & (total != 0))


def _scattered(values: Floats, indices: list[int], count: int) -> pa.Array:
    full, there = np.zeros(count), np.zeros(count, dtype=bool)
    full[indices], there[indices] = values, True
    return _masked(full, there)


def _masked(values: Floats, there: npt.NDArray[np.bool_]) -> pa.Array:
    return pa.array(values, mask=~there)
