"""A network at initialization, in seconds, without training.

gradflow inspect my_module:make

make() returns what `gradflow.inspect` takes: the model, a batch and a loss.
"""

from collections.abc import Sequence

from gradflow.core.command_line import CommandLine
from gradflow.core.door import one_line
from gradflow.core.errors import GradflowError, shown
from gradflow.watching.user_function import function_of

SHOWN = 30  # rows of the profile


@one_line()
def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = CommandLine(__doc__, prog="gradflow inspect")
    parser.add_argument("function", help="module:function, such as train:make; or file.py:function")
    text = parser.parse_args(arguments).function
    made = function_of(text)()
    if not isinstance(made, tuple) or len(made) not in (2, 3):
        raise GradflowError(f"{shown(text)}: must return (model, batch, loss), or (model, batch)")
    from gradflow.watching.inspection import inspect

    found = inspect(*made)
    print(found)
    rows = found.blocks if len(found.blocks) else found.layers
    columns = ["block_name", "input_rms", "branch_rms", "input_grad_norm", "skip_share"]
    if not len(found.blocks):
        columns = ["layer_name", "kind", "grad_norm", "weight_norm"]
    places = sorted({round(i * (len(rows) - 1) / (SHOWN - 1)) for i in range(SHOWN)})
    print()
    if len(rows) > len(places):
        kind = "blocks" if len(found.blocks) else "layers"
        print(f"{len(places)} of {len(rows)} rows; gradflow.inspect(...).{kind} has all")
    print(rows.iloc[places][columns].to_string(index=False, float_format=lambda v: f"{v:.3g}"))
