"""Tables: round trip, selection, and folders in every state a crash can leave."""

import os
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from gradflow.errors import GradflowError
from gradflow.records import SCHEMAS, RecordWriter, read_records, read_runs


def write_steps(folder, run_id, steps):
    with RecordWriter(folder, run_id) as writer:
        for step in steps:
            writer.add(
                "steps",
                step=[step],
                epoch=[0],
                loss=[step / 2],
                error=[0.5],
                learning_rate=[0.1],
                grad_norm=np.array([np.inf]),
            )
            writer.flush()


def test_round_trip_of_a_study(tmp_path):
    write_steps(tmp_path / "a", "a", range(3))
    write_steps(tmp_path / "b", "b", range(2))
    frame = read_records(tmp_path, "steps").sort_values(["run_id", "step"])
    assert frame.run_id.tolist() == ["a"] * 3 + ["b"] * 2
    assert frame.loss.tolist() == [0, 0.5, 1, 0, 0.5]
    assert np.isinf(frame.grad_norm).all()  # recorded as such
    assert list(frame.columns) == SCHEMAS["steps"].names
    assert len(read_records(tmp_path / "a", "steps")) == 3


def test_selection_of_rows_and_columns(tmp_path):
    write_steps(tmp_path / "a", "a", range(5))
    frame = read_records(tmp_path, "steps", columns=["loss"], where={"step": [1, 4], "epoch": 0})
    assert frame.loss.tolist() == [0.5, 2]
    assert list(frame.columns) == ["loss"]


@pytest.mark.parametrize("reader", ["pyarrow", "pandas"])
def test_plain_readers_need_nothing_of_ours(tmp_path, reader):
    write_steps(tmp_path / "a", "a", range(3))
    if reader == "pyarrow":
        assert pq.read_table(tmp_path / "a" / "steps").num_rows == 3
    else:
        import pandas as pd

        assert len(pd.read_parquet(tmp_path / "a" / "steps")) == 3


def test_unknown_names_are_told(tmp_path):
    write_steps(tmp_path / "a", "a", range(1))
    with pytest.raises(GradflowError, match="table=stepz: choose one of runs, attempts, steps"):
        read_records(tmp_path, "stepz")
    with pytest.raises(GradflowError, match="steps.losss: no such column; valid: run_id, step"):
        read_records(tmp_path, "steps", columns=["losss"])
    with pytest.raises(GradflowError, match="table steps: missing or unknown columns.*losss"):
        RecordWriter(tmp_path, "a").add("steps", losss=[1])


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(GradflowError, match="nowhere: no such folder"):
        read_runs(tmp_path / "nowhere")
    with pytest.raises(GradflowError, match="holds no runs records"):
        read_runs(tmp_path)


def test_a_study_none_of_whose_runs_has_finished(tmp_path):
    write_steps(tmp_path / "a", "a", range(1))
    (tmp_path / "a" / "config.yaml").write_text("seed: 0\n")
    with pytest.raises(GradflowError, match="none of its 1 runs has finished"):
        read_runs(tmp_path)


def test_a_corrupt_part_is_named(tmp_path):
    write_steps(tmp_path / "a", "a", range(2))
    (tmp_path / "a" / "steps" / "part-00001.parquet").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(GradflowError, match="part-00001.parquet: not a readable parquet file"):
        read_records(tmp_path, "steps")


def test_a_file_that_is_being_written_is_not_seen(tmp_path):
    write_steps(tmp_path / "a", "a", range(2))
    (tmp_path / "a" / "steps" / "part-00002.tmp").write_bytes(b"half a")
    assert len(read_records(tmp_path, "steps")) == 2


def test_a_read_only_folder_is_a_clear_error(tmp_path):
    """A file stands where the folder must be: it fails for every user, root included."""
    (tmp_path / "a").write_text("")
    writer = RecordWriter(tmp_path / "a", "a")
    writer.add(
        "steps", step=[0], epoch=[0], loss=[0.0], error=[0.0], learning_rate=[0.1], grad_norm=[1.0]
    )
    with pytest.raises(GradflowError, match="records cannot be written"):
        writer.flush()


WRITE_FOR_EVER = """
import sys
from pathlib import Path
from gradflow.records import RecordWriter
writer = RecordWriter(Path(sys.argv[1]), "a")
for step in range(10**6):
    writer.add("steps", step=[step], epoch=[0], loss=[0.0], error=[0.0], learning_rate=[0.1],
               grad_norm=[1.0])
    writer.flush()
"""


def test_a_killed_writer_leaves_whole_files_only(tmp_path):
    rng = np.random.default_rng(0)
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        process = subprocess.Popen([sys.executable, "-c", WRITE_FOR_EVER, str(folder)])
        deadline = time.monotonic() + 30
        while not list(folder.glob("steps/*.parquet")) and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.2))
        process.kill()
        process.wait()
        steps = read_records(folder, "steps").step.tolist()
        assert sorted(steps) == list(range(len(steps)))  # none torn, none twice, none missing
        assert os.listdir(folder) == ["steps"]
