"""How far is a study? Runs by state, progress, time left, and what failed.

gradflow status outputs/degradation
gradflow status
"""

import sys
from pathlib import Path

import pandas as pd

from gradflow.analysis.frames import dicts
from gradflow.core.command_line import CommandLine
from gradflow.core.door import folder_of, one_line
from gradflow.core.errors import GradflowError
from gradflow.records import failures
from gradflow.runs.status import CONFIG, ENDED, study_states

MEANINGS = {
    "finished": "",
    "diverged": "their loss became Inf or NaN: a result",
    "running": "",
    "interrupted": "resume from their checkpoints when the study is started again",
    "pruned": "stopped by a search",
    "failed": "retried when the study is started again; only=failed retries them alone",
    "missing": "planned, not started",
}


def report(runs: pd.DataFrame, *, every: bool = False) -> str:
    """The states of `runs.status.study_states` as text; `every`: a line per run."""
    lines = []
    for state, meaning in MEANINGS.items():
        if count := int((runs.state == state).sum()):
            lines.append(f"{count:6} {state:12} {meaning}".rstrip())
    if stale := int(runs.stale.sum()):
        lines.append(f"{stale:6} {'stale':12} of these, made by other code than the present")
    shown = runs if every else runs[runs.state.isin(["running", "failed"])]
    for run in dicts(shown):
        steps = f"{run['steps_done']}/{run['steps']} steps"
        line = f"  {run['name']:24} {run['run_id']}  {run['state']:12} {steps}"
        lines.append(line + (f"  {run['error']}" if run["error"] else ""))
    lines += [f"  damage: {line}" for text in runs.damage.dropna() for line in text.split("\n")]
    lines.append(_progress(runs))
    return "\n".join(lines)


def seconds_left(runs: pd.DataFrame) -> float | None:
    """Core-seconds until all runs have ended; None if none has yet.

    A run takes as long as the ended ones of the nearest depth, in proportion to depth and
    steps.
    """
    ended = runs[runs.state.isin(ENDED) & runs.seconds.notna() & (runs.steps_done > 0)]
    if ended.empty:
        return None
    rates = ended.seconds / (ended.depth * ended.steps_done)
    total = 0.0
    for run in dicts(runs[~runs.state.isin(ENDED) & (runs.steps > 0)]):
        distance = (ended.depth - run["depth"]).abs()
        rate = float(rates[distance == distance.min()].median())
        total += rate * run["depth"] * (run["steps"] - run["steps_done"])
    return float(total)


def _progress(runs: pd.DataFrame) -> str:
    known = runs[(runs.steps > 0) & (runs.depth > 0)]  # of another the config is damaged
    work = known.depth * known.steps
    shares = (known.steps_done / known.steps).where(~known.state.isin(ENDED), 1.0)
    share = float((work * shares).sum() / work.sum()) if len(known) else 0.0
    done = f"{100 * share:.0f} % of the work is done"
    size = f"{runs.bytes.sum() / 1e6:.1f} MB on disk, {runs.seconds.sum() / 3600:.2g} core-hours"
    left, running = seconds_left(runs), int((runs.state == "running").sum())
    if left is None or not left:
        return f"{done}; {size}"
    at_a_time = f" ({running} running)" if running else ", none is running"
    return f"{done}; about {left / 60 / max(running, 1):.1f} minutes left{at_a_time}; {size}"


@one_line()
def main() -> None:
    """The command line."""
    parser = CommandLine(__doc__)
    parser.add_argument(
        "folder",
        nargs="?",
        default=Path("outputs"),
        type=folder_of,
        help="a study's folder, or the one of all studies; default: outputs",
    )
    parser.add_argument("--all", action="store_true", help="a line per run")
    arguments = parser.parse_args()
    try:
        for folder in begun_in(arguments.folder):
            runs = study_states(folder)
            undiagnosed = failures(folder)
            print(f"{folder}: {len(runs)} runs")
            print("\n".join([report(runs, every=arguments.all), *undiagnosed]))
    except GradflowError as error:
        sys.exit(f"error: {error}")


def begun_in(folder: Path) -> list[Path]:
    """The studies in a folder of studies; the folder itself if there is none."""
    if any(folder.glob(f"*/{CONFIG}")):
        return [folder]
    return sorted({path.parents[1] for path in folder.glob(f"*/*/{CONFIG}")}) or [folder]
