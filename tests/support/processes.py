"""Commands of the project as processes, and what they leave compared."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch

from gradflow.records import SCHEMAS, read_records

ROOT = Path(__file__).parents[2]


def assert_equal_records(one: Path, other: Path) -> None:
    """Every table but attempts, rows sorted by key, and the final weights, bit for bit."""
    tables = [{t for t in SCHEMAS if list(root.rglob(f"{t}/*.parquet"))} for root in (one, other)]
    assert tables[0] == tables[1]
    for table in sorted(tables[0] - {"attempts"}):
        frames = [read_records(folder, table) for folder in (one, other)]
        keys = ["run_id", "step", "layer_index", "block_index", "split"]
        keys = [key for key in keys if key in frames[0]]
        frames = [f.sort_values(keys).reset_index(drop=True) for f in frames]
        pd.testing.assert_frame_equal(frames[0], frames[1], check_exact=True)
    weights = sorted(one.rglob("final.pt"))
    assert weights
    for path in weights:
        state, again = torch.load(path), torch.load(other / path.relative_to(one))
        assert list(state) == list(again)
        assert all(map(torch.equal, state.values(), again.values()))


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Ask the next run to stop after `step` steps, as a signal would."""
    import gradflow.training.between_steps as training

    asked = iter([*[False] * (step - 1), *[True] * 1000])
    monkeypatch.setattr(training, "asked_to_stop", lambda: next(asked))


def command(root: Path, *overrides: str) -> list[str]:
    return [
        sys.executable,
        str(ROOT / "experiments/train.py"),
        *overrides,  # -m first, if it is there
        "data.subset=128",
        "data.batch_size=32",
        "network.width=4",
        "evaluation.every=50",
        "evaluation.images=64",
        "~hydra.callbacks.analysis",  # no figures, which take longer than the runs
        f"output_root={root}",
    ]


def wait_for(condition: Callable[[], object], seconds: float = 600) -> None:
    """A limit for what would hang, not for what is slow."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
