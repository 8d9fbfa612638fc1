"""Export a study's tables as CSV, parquet or TensorBoard event files.

    gradflow export outputs/degradation --format csv
    gradflow export outputs/degradation --format tensorboard

One file per table, with the runs' settings in every row, under <study>/export. TensorBoard needs
pip install 'gradflow-suite[tensorboard]'.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from gradflow.analysis.frames import dicts
from gradflow.config.run_id import run_name
from gradflow.core.command_line import CommandLine
from gradflow.core.door import folder_of, one_line
from gradflow.core.errors import GradflowError
from gradflow.records import SCHEMAS, read_records, read_runs

FORMATS = ("csv", "parquet", "tensorboard")
SETTINGS = ["run_id", "network_name", "network_depth", "network_skip", "seed"]


def export(folder: Path, kind: str) -> list[Path]:
    """Write every table of a study that has rows; returns the paths.

    Raises:
        GradflowError: an unknown format, nothing recorded, or an extra that is not installed.
    """
    if kind not in FORMATS:
        raise GradflowError(f"--format {kind}: choose among {', '.join(FORMATS)}")
    runs = read_runs(folder)
    target = folder / "export"
    if kind == "tensorboard":
        return _event_files(folder, runs, target / kind)
    target.mkdir(exist_ok=True)
    written = []
    for table in SCHEMAS:
        if not any(folder.glob(f"*/{table}/*.parquet")):
            continue
        rows = runs if table == "runs" else _with_settings(folder, table, runs)
        path = target / f"{table}.{kind}"
        if kind == "csv":
            rows.to_csv(path, index=False, lineterminator="\n")
        else:
            rows.to_parquet(path, index=False)
        written.append(path)
    return written


def _with_settings(folder: Path, table: str, runs: pd.DataFrame) -> pd.DataFrame:
    rows = read_records(folder, table, where={"run_id": list(runs.run_id)})
    return rows.merge(runs[SETTINGS], on="run_id", validate="many_to_one")


def _event_files(folder: Path, runs: pd.DataFrame, target: Path) -> list[Path]:
    """Loss, error, learning rate, and layers' and blocks' series by step: a folder per run."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise GradflowError(
            "--format tensorboard: needs tensorboardX: pip install 'gradflow-suite[tensorboard]'"
        ) from error
    steps = read_records(folder, "steps")
    evaluations = read_records(folder, "evaluations")
    written = []
    for run in dicts(runs):
        name = run_name(run["network_depth"], run["network_skip"], run["seed"])
        path = target / f"{name} {run['run_id']}".replace(" ", "_")
        with SummaryWriter(str(path)) as writer:
            own = steps[steps.run_id == run["run_id"]].drop(columns="run_id").set_index("step")
            for column in own.columns:
                for step, value in own[column].items():
                    writer.add_scalar(f"steps/{column}", value, step)
            for row in dicts(evaluations[evaluations.run_id == run["run_id"]]):
                for name in ("loss", "error"):
                    writer.add_scalar(f"{row['split']}/{name}", row[name], row["step"])
            for name, step, value in _series(folder / run["run_id"]):
                writer.add_scalar(name, value, step)
        written.append(path)
    return written


def _series(run: Path) -> Iterator[tuple[str, int, float]]:
    """Name, step and value of what was measured of each layer and block of a run."""
    for table, place, columns in MEASURED:
        if not (run / table).is_dir():
            continue
        rows = read_records(run, table, columns=["step", place, *columns])
        for column in columns:
            known = rows.dropna(subset=column)
            names = f"{column}/" + known[place].astype(str)
            yield from zip(names, known.step, known[column], strict=True)


MEASURED = (
    ("layers", "layer_name", ("grad_norm", "weight_norm", "relative_update")),
    ("blocks", "block_name", ("input_grad_norm", "skip_share", "input_rms", "branch_rms")),
)
"""Table, the column that names a place in it, and the columns that are exported by step."""


@one_line()
def main() -> None:
    """The command line."""
    parser = CommandLine(__doc__)
    parser.add_argument(
        "folder", type=folder_of, help="a study's folder, such as outputs/degradation"
    )
    parser.add_argument("--format", default="csv", help=f"one of {', '.join(FORMATS)}")
    arguments = parser.parse_args()
    try:
        for path in export(arguments.folder, arguments.format):
            print(path)
    except GradflowError as error:
        sys.exit(f"error: {error}")
