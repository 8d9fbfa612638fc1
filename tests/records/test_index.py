"""The index of a study's runs is a copy that never tells anything but what the runs tables do."""

import shutil

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gradflow.records import ended_runs, read_records, read_runs
from gradflow.records.index import INDEX


def from_tables(folder):
    return read_records(folder, "runs").sort_values("run_id", ignore_index=True)


def copy_of(study_folder, tmp_path):
    return shutil.copytree(study_folder, tmp_path / "study", ignore=lambda *_: [INDEX])


def test_it_equals_the_tables_before_and_after_it_is_written(study_folder, tmp_path):
    folder = copy_of(study_folder, tmp_path)
    for _ in range(2):
        pd.testing.assert_frame_equal(read_runs(folder), from_tables(folder))
    assert (folder / INDEX).exists()


def test_with_it_no_runs_table_is_opened(study_folder, tmp_path, monkeypatch):
    folder = copy_of(study_folder, tmp_path)
    expected = read_runs(folder)
    monkeypatch.setattr("gradflow.records.index.read_table", None)
    pd.testing.assert_frame_equal(read_runs(folder), expected)


def test_a_run_that_comes_goes_or_changes_is_seen(study_folder, tmp_path):
    folder = copy_of(study_folder, tmp_path)
    runs = read_runs(folder)
    first, second = (folder / run for run in runs.run_id[:2])
    shutil.move(first, tmp_path / "away")
    assert sorted(read_runs(folder).run_id) == sorted(runs.run_id[1:])
    shutil.move(tmp_path / "away", first)
    changed = pq.read_table(second / "runs", partitioning=None)
    index = changed.column_names.index("final_train_error")
    changed = changed.set_column(index, "final_train_error", pa.array([0.125]))
    changed = changed.replace_schema_metadata(None)  # whose digest is of the table as it was
    shutil.rmtree(second / "runs")
    (second / "runs").mkdir()
    pq.write_table(changed, second / "runs" / "part-00000.parquet")
    again = read_runs(folder).set_index("run_id").final_train_error
    assert again[second.name] == 0.125
    assert len(again) == len(runs)


def test_a_torn_or_older_index_and_a_folder_that_is_only_read(study_folder, tmp_path, monkeypatch):
    folder = copy_of(study_folder, tmp_path)
    expected = from_tables(folder)
    (folder / INDEX).write_bytes(b"PAR1 torn")
    pd.testing.assert_frame_equal(read_runs(folder), expected)
    pq.write_table(pa.table({"run_id": ["x"]}), folder / INDEX)
    pd.testing.assert_frame_equal(read_runs(folder), expected)
    (folder / INDEX).unlink()

    def refuse(*_, **__):
        raise PermissionError("read-only")

    monkeypatch.setattr("gradflow.records.index.atomic_file", refuse)
    pd.testing.assert_frame_equal(read_runs(folder), expected)
    assert not (folder / INDEX).exists()


def test_an_index_that_disagrees_with_its_tables_is_not_believed(study_folder, tmp_path):
    folder = copy_of(study_folder, tmp_path)
    expected = read_runs(folder)
    index = pq.read_table(folder / INDEX)
    place = index.column_names.index("final_test_error")
    forged = index.set_column(place, "final_test_error", pa.array([0.5] * len(index)))
    for metadata in (forged.schema.metadata, None):  # its digest is of other rows, or it has none
        pq.write_table(forged.replace_schema_metadata(metadata), folder / INDEX)
        pd.testing.assert_frame_equal(read_runs(folder), expected)
    other, [part, *_] = tmp_path / "other", sorted(folder.glob("*/runs/*.parquet"))
    changed = pq.read_table(part, partitioning=None).replace_schema_metadata(None)
    place = changed.column_names.index("final_test_error")
    changed = changed.set_column(place, "final_test_error", pa.array([0.25]))
    pq.write_table(changed, other)
    part.write_bytes(other.read_bytes())  # the time of its folder stays as it was
    again = read_runs(folder).set_index("run_id").final_test_error
    assert again[part.parents[1].name] == 0.25


def test_a_study_without_an_ended_run_is_empty(tmp_path):
    (tmp_path / "begun" / "runs").mkdir(parents=True)  # killed before its row was written
    assert ended_runs(tmp_path).empty
