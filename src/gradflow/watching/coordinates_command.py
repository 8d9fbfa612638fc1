"""Do a network's outputs, and their changes in a few steps, keep their size as it grows?

gradflow coordinates my_module:make --widths 64,128,256,512
gradflow coordinates my_module:make --depths 4,8,16,32 --steps 3 --out checks/depth

make(width) returns the model, a batch, a loss and an optimizer, see `gradflow.coordinate_check`.
The exit status is 0 if the check passes, 2 if it fails, 3 if it is inconclusive.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from gradflow.analysis.tables import Cell, Table
from gradflow.core.command_line import CommandLine
from gradflow.core.door import folder_of, one_line
from gradflow.core.errors import GradflowError, shown
from gradflow.core.files import atomic_write
from gradflow.statistics import Interval
from gradflow.watching.coordinate_verdict import (
    FAILS,
    OPEN,
    PASSES,
    TOLERANCE,
    ZERO,
    CoordinateCheck,
)
from gradflow.watching.user_function import function_of

STATUS = {PASSES: 0, FAILS: 2, OPEN: 3}


@one_line()
def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = CommandLine(__doc__, prog="gradflow coordinates")
    parser.add_argument("function", help="module:function, such as train:make; or file.py:function")
    parser.add_argument("--widths", help="such as 64,128,256")
    parser.add_argument("--depths", help="instead of widths")
    parser.add_argument("--steps", type=int, default=4, help="of the optimizer (default: 4)")
    parser.add_argument("--seeds", type=int, default=5, help="networks per width (default: 5)")
    parser.add_argument("--wanted", type=float, default=0.0, help="exponent (default: 0, muP's)")
    parser.add_argument(
        "--tolerance", type=float, default=TOLERANCE, help=f"around it (default: {TOLERANCE})"
    )
    parser.add_argument("--out", type=folder_of, help="folder for the figure and CSV tables")
    given = parser.parse_args(arguments)
    make = function_of(given.function)
    sizes = {name: _numbers(name, getattr(given, name)) for name in ("widths", "depths")}
    from gradflow.watching.coordinates import coordinate_check

    found = coordinate_check(
        make,
        **sizes,
        steps=given.steps,
        seeds=given.seeds,
        wanted=given.wanted,
        tolerance=given.tolerance,
    )
    print(f"{found}\n\n{table_of(found)}")
    if given.out is not None:
        print("", *_saved(found, given.out), sep="\n")
    sys.stdout.flush()
    sys.exit(STATUS[found.outcome])


def _numbers(name: str, text: str | None) -> list[int] | None:
    try:
        return None if text is None else [int(part) for part in text.split(",")]
    except ValueError as error:
        line = f"--{name}={shown(text)}: must be whole numbers, such as 64,128,256"
        raise GradflowError(line) from error


def table_of(found: CoordinateCheck) -> Table:
    """Exponents at the last step, a row per layer and block."""
    last = found.slopes[found.slopes.step == found.slopes.step.max()]
    rows: list[dict[str, Cell]] = []
    for layer, own in last.groupby("layer", sort=False):
        row: dict[str, Cell] = {"layer": str(layer)}
        seeds = found.sizes.seed.nunique()
        for _, line in own.iterrows():
            ends = Interval(line.slope, line.low, line.high, seeds)
            row[f"exponent of its {line.quantity}"] = 0 if line.says == ZERO else ends
            row[f"{line.quantity} is"] = str(line.says)
        rows.append(row)
    formats = dict.fromkeys(("exponent of its size", "exponent of its change"), ".2f")
    return Table(rows, formats, note=f"At step {int(last.step.max())}; 95 % intervals.")


def _saved(found: CoordinateCheck, folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in ("sizes.csv", "slopes.csv", "coordinates.png")]
    for path, frame in zip(paths, (found.sizes, found.slopes), strict=False):
        atomic_write(path, frame.to_csv(index=False))
    found.plot(paths[-1])
    return paths
