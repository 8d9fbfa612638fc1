"""The columns of the tables of diagnoses: those of every table, and those that each file declares.

`step` is 0 for the network as it was drawn, or the steps of the whole training.
"""

import re

import pyarrow as pa

from gradflow.config.diagnostics import DiagnosticConfig
from gradflow.config.registry import classes_of
from gradflow.core.errors import GradflowError

KEY = [("run_id", pa.string())]
DIAGNOSED = [*KEY, ("diagnostic_id", pa.string()), ("step", pa.int32())]

DIAGNOSES = pa.schema(
    [
        *DIAGNOSED,
        ("name", pa.string()),
        ("options", pa.string()),  # JSON
        ("code_version", pa.string()),
    ]
)
"""One row per diagnosis, written when it is whole."""

FAILED_DIAGNOSES = pa.schema([*DIAGNOSES, ("error", pa.string()), ("traceback", pa.string())])
"""One row per diagnosis whose last attempt failed; it goes when a later one succeeds."""


def diagnostic_schemas() -> dict[str, pa.Schema]:
    """Table -> schema, of what every registered diagnostic declares in its TABLES.

    Raises:
        GradflowError: two diagnostics declare one table, or a type that does not exist.
    """
    schemas = {"diagnoses": DIAGNOSES, "failed_diagnoses": FAILED_DIAGNOSES}
    for config in classes_of("diagnostic"):
        assert issubclass(config, DiagnosticConfig)
        for table, columns in config.TABLES.items():
            if table in schemas:
                raise GradflowError(f"{config.__name__}: the table {table} is declared already")
            declared = [(name, _arrow_type(table, kind)) for name, kind in columns.items()]
            # What is half done is resumed by the same code alone.
            code = [("code_version", pa.string())] if config.PART else []
            schemas[table] = pa.schema([*DIAGNOSED, *code, *declared])
    return schemas


def _arrow_type(table: str, kind: str) -> pa.DataType:
    """int32 and so on by name, and list[int64]."""
    inner = re.fullmatch(r"list\[(.+)\]", kind)
    try:
        return pa.list_(pa.type_for_alias(inner[1])) if inner else pa.type_for_alias(kind)
    except ValueError:
        raise GradflowError(
            f"table {table}: {kind} is no type; such as int32, float64, string, bool, list[int64]"
        ) from None
