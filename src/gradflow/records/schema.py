"""The columns of every table, in one place. A row is one measurement."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any, get_args, get_origin, get_type_hints

import pyarrow as pa

from gradflow.config.registry import GROUPS, classes_of
from gradflow.config.run import RunConfig
from gradflow.config.run_id import NOT_IDENTITY
from gradflow.records.diagnostic_schema import KEY, diagnostic_schemas
from gradflow.records.quantities import columns
from gradflow.records.watched_schema import WATCHED_SCHEMAS

LAYER = [
    *KEY,
    ("step", pa.int32()),
    ("layer_index", pa.int32()),
    ("layer_name", pa.string()),
    ("block_index", pa.int32()),  # null outside the blocks
    ("kind", pa.string()),
]
BLOCK = [*KEY, ("step", pa.int32()), ("block_index", pa.int32())]


def _config_columns() -> list[tuple[str, pa.DataType]]:
    """A column for every value of a config that can change a number, named group_key."""
    columns = {}
    for entry in fields(RunConfig):
        classes: tuple[Any, ...] = (entry.type,) if is_dataclass(entry.type) else ()
        if entry.name in NOT_IDENTITY:
            continue
        if entry.name in GROUPS:
            classes = classes_of(entry.name)
        if not classes:
            columns[entry.name] = _arrow_type(entry.type)
        for cls in classes:
            hints = get_type_hints(cls)
            for part in fields(cls):
                columns[f"{entry.name}_{part.name}"] = _arrow_type(hints[part.name])
    return [(name, kind) for name, kind in columns.items() if name not in NOT_IDENTITY]


def _arrow_type(hint: Any) -> pa.DataType:
    """`int | None` as int64, and so on; a sequence as text."""
    scalars = {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    options = (hint,) if get_origin(hint) is tuple else get_args(hint) or (hint,)
    return next((scalars[option] for option in options if option in scalars), pa.string())


def _runs() -> pa.Schema:
    """One row per run, written when it ends; status is finished or diverged."""
    return pa.schema(
        [
            *KEY,
            ("status", pa.string()),
            *_config_columns(),
            ("data_fingerprint", pa.string()),
            ("n_parameters", pa.int64()),
            ("macs", pa.int64()),  # multiply-accumulates of one image's forward pass
            ("final_train_error", pa.float64()),  # share of wrong answers, 0 ... 1
            ("final_test_error", pa.float64()),
            ("final_train_loss", pa.float64()),  # nats per image
            ("steps_done", pa.int64()),
            ("diverged_at", pa.int64()),  # the step whose loss was not finite
            ("code_version", pa.string()),
            ("torch_version", pa.string()),
        ]
    )


_OF_EVERY_RUN: dict[str, pa.Schema] = {
    # One row per time that a process worked on a run: all that may differ between equal runs.
    "attempts": pa.schema(
        [
            *KEY,
            ("started", pa.timestamp("ms", tz="UTC")),
            ("ended", pa.timestamp("ms", tz="UTC")),
            ("wall_seconds", pa.float64()),
            ("recording_share", pa.float64()),  # of the training's time, spent measuring
            ("host", pa.string()),
            ("machine", pa.string()),  # processor and cores
            ("instruction_set", pa.string()),  # see gradflow.training.origin
            ("resumed_from", pa.string()),  # step and versions of its checkpoint; null: step 0
            ("code_version", pa.string()),
            ("git_commit", pa.string()),
            ("torch_version", pa.string()),
            ("python_version", pa.string()),
            ("error", pa.string()),
            ("traceback", pa.string()),
        ]
    ),
    # One row per training step, measured on its mini-batch before the update.
    "steps": pa.schema(
        [
            *KEY,
            ("step", pa.int32()),
            ("epoch", pa.int32()),
            ("loss", pa.float32()),
            ("error", pa.float32()),
            ("learning_rate", pa.float32()),
            ("grad_norm", pa.float32()),  # over all parameters together
            ("clipped_grad_norm", pa.float32()),  # the same after clipping
        ]
    ),
    # One row an evaluation of a split after `step` updates, in evaluation mode.
    "evaluations": pa.schema(
        [
            *KEY,
            ("step", pa.int32()),
            ("split", pa.string()),
            ("loss", pa.float64()),
            ("error", pa.float64()),
            ("batch_error", pa.float64()),
        ]
    ),
    # What probes measure, see gradflow.records.quantities: one row per weighted layer, per block
    # (and one more for the last block's output), per network, at a measured step.
    "layers": pa.schema([*LAYER, *columns("layers")]),
    "blocks": pa.schema([*BLOCK, *columns("blocks")]),
    # On the sparse schedule.
    "layer_details": pa.schema([*LAYER, *columns("layer_details")]),
    "block_details": pa.schema([*BLOCK, *columns("block_details")]),
    "network_details": pa.schema([*KEY, ("step", pa.int32()), *columns("network_details")]),
}


class _Schemas(Mapping[str, pa.Schema]):
    """Those above, the runs table, and the tables of diagnoses, of all that is registered."""

    def __getitem__(self, table: str) -> pa.Schema:
        return self._all[table]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    @property
    def _all(self) -> dict[str, pa.Schema]:
        return _made(tuple(choices.changes for choices in GROUPS.values()))


@lru_cache(maxsize=1)
def _made(changes: tuple[int, ...]) -> dict[str, pa.Schema]:
    """All schemas; made again when something else is registered."""
    return {"runs": _runs(), **_OF_EVERY_RUN, **WATCHED_SCHEMAS, **diagnostic_schemas()}


SCHEMAS: Mapping[str, pa.Schema] = _Schemas()
"""Table -> schema."""

DERIVED: dict[str, dict[str, tuple[str, ...]]] = {
    "layers": {"relative_update": ("update_norm", "weight_norm"), "grad_state": ("grad_norm",)},
}
"""Table -> column that the reader computes -> the stored columns that it is computed from.

relative_update: update_norm / weight_norm. grad_state: finite, inf, nan, or none if the
weight had no gradient.
"""
