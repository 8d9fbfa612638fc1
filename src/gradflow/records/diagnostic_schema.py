"""The columns of the tables of diagnoses, see gradflow.diagnostics.

`step` is 0 for the network as it was drawn, or the steps of the whole training.
"""

import pyarrow as pa

KEY = [("run_id", pa.string())]
DIAGNOSED = [*KEY, ("diagnostic_id", pa.string()), ("step", pa.int32())]

DIAGNOSTIC_SCHEMAS: dict[str, pa.Schema] = {
    # One row a diagnosis, written when it is whole.
    "diagnoses": pa.schema(
        [
            *DIAGNOSED,
            ("name", pa.string()),
            ("options", pa.string()),  # JSON
            ("code_version", pa.string()),
        ]
    ),
    # One row a place: the image (block_index null), each block's input, the head's input.
    "shattering": pa.schema(
        [
            *DIAGNOSED,
            ("block_index", pa.int32()),
            ("signal_cosine", pa.float64()),  # means over pairs of examples
            ("grad_cosine", pa.float64()),
            ("whiteness", pa.float64()),  # of the gradient along a line, 0 ... 1
        ]
    ),
    # One row a place and pair of images.
    "pairs": pa.schema(
        [
            *DIAGNOSED,
            ("block_index", pa.int32()),
            ("one", pa.int32()),
            ("other", pa.int32()),
            ("signal_cosine", pa.float64()),
            ("grad_cosine", pa.float64()),
        ]
    ),
    # One row a place and lag, a share of the line between two images.
    "autocorrelations": pa.schema(
        [
            *DIAGNOSED,
            ("block_index", pa.int32()),
            ("lag", pa.float64()),
            ("correlation", pa.float64()),
        ]
    ),
    # One row a singular value; part is network, blocks (all together) or block.
    "singular_values": pa.schema(
        [
            *DIAGNOSED,
            ("part", pa.string()),
            ("block_index", pa.int32()),
            ("example", pa.int32()),
            ("rank", pa.int32()),
            ("value", pa.float64()),
            ("error", pa.float64()),  # a bound
            ("is_whole", pa.bool_()),  # whether all values are there
        ]
    ),
    # One row a path length; gradients of the mean loss at the first block's input.
    "paths": pa.schema(
        [
            *DIAGNOSED,
            ("length", pa.int32()),
            ("n_paths", pa.float64()),
            ("path_grad_norm", pa.float64()),  # root mean square over single paths
            ("samples", pa.int32()),  # so many
            ("total_grad_norm", pa.float64()),  # of the sum over all of them, exact
        ]
    ),
    # One row a lesion: none, delete, swap.
    "lesions": pa.schema(
        [
            *DIAGNOSED,
            ("lesion", pa.string()),
            ("count", pa.int32()),  # of blocks that were hit
            ("sample", pa.int32()),
            ("blocks", pa.list_(pa.int64())),
            ("kendall_tau", pa.float64()),  # of the new order with the old
            ("loss", pa.float64()),
            ("error", pa.float64()),
        ]
    ),
    # One row a point, in units of the weights' own length.
    "landscape": pa.schema(
        [
            *DIAGNOSED,
            ("code_version", pa.string()),  # one that is half done is resumed by the same code
            ("surface", pa.string()),  # line or plane
            ("x", pa.float64()),
            ("y", pa.float64()),
            ("loss", pa.float64()),
            ("error", pa.float64()),
        ]
    ),
    # One row a group of layers: the Hessian by its parameters.
    "curvature": pa.schema(
        [
            *DIAGNOSED,
            ("layers", pa.string()),
            ("n_parameters", pa.int64()),
            ("largest", pa.float64()),  # eigenvalue
            ("trace", pa.float64()),
            ("trace_error", pa.float64()),  # standard error of the estimate
        ]
    ),
    # One row a block; all are ratios of root mean squares.
    "identity": pa.schema(
        [
            *DIAGNOSED,
            ("block_index", pa.int32()),
            ("branch_share", pa.float64()),
            ("distance", pa.float64()),
            ("stack_distance", pa.float64()),
        ]
    ),
}
