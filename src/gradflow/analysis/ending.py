"""The end of a study on the terminal: the answer, where the report and tables are, what next."""

from pathlib import Path

import pandas as pd

from gradflow.analysis.settings import key_of, value_text
from gradflow.analysis.swept import swept_keys
from gradflow.config.run_id import TWINS
from gradflow.records import ended_runs
from gradflow.statistics import CLAIM_FROM


def ending(folder: Path, page: Path, verdict: str) -> str:
    """Four lines on a study whose report was made; `verdict`: its words, if there are any."""
    runs = ended_runs(folder)
    tables = sorted(path.stem for path in folder.glob("tables/*.csv"))
    figures = len(list(folder.glob("figures/*.json")))
    return "\n".join(
        [
            f"answer: {verdict or best_run(runs)}",
            f"report: {page}",
            f"tables: {folder / 'tables'} ({len(tables)}); figures: {folder / 'figures'} "
            f"({figures}); --files of analysis/report.py lists them",
            f"next: {next_command(folder, runs)}",
        ]
    )


def best_run(runs: pd.DataFrame) -> str:
    """The run with the lowest training error, of a study on which there is no verdict."""
    known = runs.dropna(subset="final_train_error") if len(runs) else runs
    if known.empty:
        return f"none: {len(runs)} runs ended, and none has a training error"
    best = known.iloc[int(known.final_train_error.argmin())]
    ties = int((known.final_train_error == best.final_train_error).sum())
    words = [f"{TWINS[bool(best.network_skip)]}, depth {best.network_depth}"]
    words += [f"{key_of(key)}={value_text(best[key])}" for key in swept_keys(known)]
    share = f"{100 * best.final_train_error:.1f} %"
    if ties > 1:
        return f"{ties} of {len(runs)} runs have the lowest training error, {share}"
    return f"of {len(runs)} runs, the lowest training error is {share} ({', '.join(words)})"


def next_command(folder: Path, runs: pd.DataFrame) -> str:
    """What to do with the study next: finish it, give it seeds for a claim, or print it."""
    if len(runs) < len(list(folder.glob("*/config.yaml"))):
        return (
            f"python analysis/status.py {folder}  (runs have not ended; the same command resumes)"
        )
    if runs.seed.nunique() < CLAIM_FROM:
        return f"the same command with seed={','.join(map(str, range(CLAIM_FROM)))}, for a claim"
    return f"make paper STUDY={folder.name} STYLE=neurips FORMAT=pdf"
