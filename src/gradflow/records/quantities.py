"""What is measured, one row each: records, measurement and the page of quantities derive from it."""

from typing import NamedTuple

import pyarrow as pa

STREAMS = tuple(f"stream_{number}" for number in range(8))
"""The squared gradient at x by stream, of a block that says which axis of x counts its streams."""

SUMS = (
    "input", "added", "total", "inside", "skip", "branch", "elsewhere", "path", "path_rest",
    "mean", "variance", "dead", *STREAMS,
)  # fmt: skip
"""What is added up per block over the passes of a measurement: squares of tensors, but for
mean, variance and dead, which are values and a number of channels. `inside` is the gradient's part that came
back over the block, skip and branch together."""


class Quantity(NamedTuple):
    """A recorded quantity.

    Attributes:
        reduction: how the passes of a measurement become one number. root_mean: of the mean
            square per element; norm: root of the summed squares over passes, of gradients
            without the loss scale; share: <part, whole> / |whole|^2 from the squares of part,
            rest and whole; shares: of each entry that is there in their sum; mean; ratio: of a count to another; layer: of a whole parameter;
            text; examples: see `between_examples`.
        of: the entries of SUMS that it is made from.
    """

    name: str
    table: str
    reduction: str
    of: tuple[str, ...]
    unit: str
    doc: str
    type: pa.DataType = pa.float64()


HISTOGRAM_EDGES = tuple(10.0 ** (half / 2) for half in range(-40, 9))
"""|gradient| at which the bins of layer_details.histogram meet: half decades from 1e-20 to 1e4.

There is one bin more than edges: the first holds what is below the first edge, the last what is
at or above the last edge, Inf and NaN too.
"""

HISTOGRAM = pa.list_(pa.int64())

# ruff: noqa: E501
QUANTITIES = (
    Quantity("grad_norm", "layers", "layer", (), "loss / weight",
             "norm of d(mean loss)/d(parameter), before clipping; null: no gradient arrived"),
    Quantity("weight_norm", "layers", "layer", (), "weight",
             "norm of the parameter before the update; null: it has none (quantized)"),
    Quantity("update_norm", "layers", "layer", (), "weight",
             "norm of what changed between the last backward pass and the next forward pass or "
             "arm, whoever changed it; null: the measurement ended before anything changed"),
    Quantity("block_name", "blocks", "text", (), "",
             "the module that made the residual sum; `:k` numbers several sums of one module", pa.string()),
    Quantity("input_rms", "blocks", "root_mean", ("input",), "activation",
             "root mean square of x, the tensor from which shortcut and branch leave"),
    Quantity("branch_rms", "blocks", "root_mean", ("added",), "activation",
             "root mean square of F(x); null where F(x) is no module's output"),
    Quantity("input_grad_norm", "blocks", "norm", ("total",), "loss / activation",
             "norm of the gradient at x, all uses of x together"),
    Quantity("skip_grad_norm", "blocks", "norm", ("skip",), "loss / activation",
             "norm of what came back over the shortcut"),
    Quantity("branch_grad_norm", "blocks", "norm", ("branch",), "loss / activation",
             "norm of what came back through the branch, a gate's own path included"),
    Quantity("elsewhere_grad_norm", "blocks", "norm", ("elsewhere",), "loss / activation",
             "norm of what came back from other uses of x: a long skip, an auxiliary head"),
    Quantity("skip_share", "blocks", "share", ("skip", "branch", "inside"), "1",
             "<skip part, skip + branch> / |skip + branch|^2; may leave [0, 1]"),
    Quantity("stream_shares", "blocks", "shares", STREAMS, "1",
             "share of the squared gradient at x that is each stream's; null: the block declares no `stream_axis`",
             pa.list_(pa.float64())),
    Quantity("reason", "blocks", "text", (), "", "why values of this row are null", pa.string()),
    Quantity("zero_fraction", "layer_details", "layer", (), "1", "zeros among the gradient's elements"),
    Quantity("histogram", "layer_details", "layer", (), "elements",
             "elements by |gradient|, without the zeros; bins meet at gradflow.records.HISTOGRAM_EDGES", HISTOGRAM),
    Quantity("input_mean", "block_details", "mean", ("mean",), "activation", "mean of x"),
    Quantity("input_variance", "block_details", "mean", ("variance",), "activation^2", "variance of x"),
    Quantity("dead_fraction", "block_details", "ratio", ("dead",), "1",
             "share of the channels of the block's ReLU modules that are 0 for the whole batch"),
    Quantity("path_grad_norm", "network_details", "norm", ("path",), "loss / activation",
             "norm of what came back from the last block's output to the first x over shortcuts alone"),
    Quantity("path_share", "network_details", "share", ("path", "path_rest", "total"), "1",
             "its share of the gradient at the first x"),
    Quantity("example_cosine", "network_details", "examples", (), "1",
             "mean cosine between the gradients of two examples"),
    Quantity("signal_to_noise", "network_details", "examples", (), "1",
             "|mean gradient|^2 / variance, of examples"),
)  # fmt: skip


def columns(table: str) -> list[tuple[str, pa.DataType]]:
    """The columns of a table that hold measured quantities, in order."""
    return [(q.name, q.type) for q in QUANTITIES if q.table == table]


def reference() -> str:
    """The page of quantities: what every column means."""
    lines = [
        "# Quantities",
        "",
        "What probes record. Gradients are of the mean loss over the batch. Numbers are float64.",
        "",
        "| table | column | unit | meaning |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {q.table} | `{q.name}` | {q.unit} | {q.doc} |".replace("|g", "\\|g") for q in QUANTITIES
    ]
    return "\n".join(lines) + "\n"
