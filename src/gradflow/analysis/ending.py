"""The end of a study on the terminal: the answer, where the report and tables are, what next."""

from pathlib import Path

import pandas as pd

from gradflow.records import ended_runs
from gradflow.statistics import CLAIM_FROM


def ending(folder: Path, page: Path, answer: str) -> str:
    """Four lines on a study whose report was made; `answer`: what the report says first."""
    tables = len(list(folder.glob("tables/*.csv")))
    figures = len(list(folder.glob("figures/*.json")))
    return "\n".join(
        [
            f"answer: {answer}",
            f"report: {page}",
            f"tables: {folder / 'tables'} ({tables}); figures: {folder / 'figures'} ({figures}); "
            "--files of gradflow report lists them",
            f"next: {next_command(folder, ended_runs(folder))}",
        ]
    )


def next_command(folder: Path, runs: pd.DataFrame) -> str:
    """What to do with the study next: finish it, give it seeds for a claim, or print it."""
    if len(runs) < len(list(folder.glob("*/config.yaml"))):
        return f"gradflow status {folder}  (runs have not ended; the same command resumes)"
    if runs.seed.nunique() < CLAIM_FROM:
        return f"the same command with seed={','.join(map(str, range(CLAIM_FROM)))}, for a claim"
    return f"gradflow figures {folder} --style neurips --format pdf"
