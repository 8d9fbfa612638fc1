"""Tables of a training that is watched from outside: what it is, and what its user records."""

import pyarrow as pa

from gradflow.records.diagnostic_schema import KEY

WATCHED_SCHEMAS: dict[str, pa.Schema] = {
    # Free-form: no config of this package describes the training.
    "settings": pa.schema([*KEY, ("key", pa.string()), ("value", pa.string())]),
    # One row per number that the user passes with a step, under the user's name.
    "scalars": pa.schema(
        [*KEY, ("step", pa.int32()), ("name", pa.string()), ("value", pa.float64())]
    ),
    # One row per alert, see gradflow.watching.alerts.
    "alerts": pa.schema(
        [
            *KEY,
            ("step", pa.int32()),
            ("kind", pa.string()),
            ("place", pa.string()),  # the layer or block where it is worst
            ("value", pa.float64()),
            ("threshold", pa.float64()),
            ("text", pa.string()),
        ]
    ),
}
