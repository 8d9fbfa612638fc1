"""Tables: round trip, stored types, selection, means, compaction, and what wrong input is told.

What a death or a bad disk leaves behind: test_crashes.py.
"""

import math
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal

from gradflow.core.errors import GradflowError
from gradflow.records import SCHEMAS, RecordWriter, read_means, read_records, read_runs
from gradflow.records.seal import digest_of, sealed


def add_steps(writer, steps, **columns):
    values = {
        "step": list(steps),
        "epoch": 0,
        "loss": [step / 2 for step in steps],
        "error": 0.5,
        "learning_rate": 0.1,
        "grad_norm": np.full(len(steps), np.inf),
        "clipped_grad_norm": 1.0,
    }
    writer.add("steps", **{**values, **columns})


def write_steps(folder, steps, **columns):
    """A part a step."""
    with RecordWriter(folder, folder.name) as writer:
        for step in steps:
            add_steps(writer, [step], **columns)
            writer.flush()


def add_run(writer, **columns):
    writer.add("runs", **{**dict.fromkeys(SCHEMAS["runs"].names[1:]), **columns})


def test_round_trip_of_a_study(tmp_path):
    write_steps(tmp_path / "a", range(3))
    write_steps(tmp_path / "b", range(2))
    frame = read_records(tmp_path, "steps")
    assert frame.run_id.tolist() == ["a"] * 3 + ["b"] * 2
    assert frame.step.tolist() == [0, 1, 2, 0, 1]
    assert frame.loss.tolist() == [0, 0.5, 1, 0, 0.5]
    assert np.isinf(frame.grad_norm).all()  # recorded as such
    assert list(frame.columns) == SCHEMAS["steps"].names
    assert len(read_records(tmp_path / "a", "steps")) == 3


def test_columns_may_be_lists_arrays_or_one_value_for_all_rows(tmp_path):
    with RecordWriter(tmp_path / "a", "a") as writer:
        wide = pa.chunked_array([[4.0], [None]], pa.float64())  # stored as float32
        add_steps(writer, [7, 8], loss=wide, error=np.array([0.25, 0.75]), epoch=3)
    frame = read_records(tmp_path, "steps")
    assert frame.epoch.tolist() == [3, 3]
    assert frame.error.tolist() == [0.25, 0.75]
    assert frame.loss[0] == 4
    assert pd.isna(frame.loss[1])


def test_selection_of_rows_and_columns(tmp_path):
    write_steps(tmp_path / "a", range(5))
    frame = read_records(tmp_path, "steps", columns=["loss"], where={"step": [1, 4], "epoch": 0})
    assert frame.loss.tolist() == [0.5, 2]
    assert list(frame.columns) == ["loss"]
    assert read_records(tmp_path, "steps", where={"learning_rate": 0.1, "step": 3}).step[0] == 3
    assert read_records(tmp_path, "steps", where={"step": []}).empty


@pytest.mark.parametrize("wanted", ["a", ["a"], ["a", "b"]])
def test_a_selection_of_runs_opens_only_their_files(tmp_path, wanted):
    """The other run's file would not open, as a read of everything shows."""
    write_steps(tmp_path / "a", range(2))
    write_steps(tmp_path / "b", range(2))
    (tmp_path / "c" / "steps").mkdir(parents=True)
    (tmp_path / "c" / "steps" / "part-00000.parquet").write_bytes(b"PAR1 no PAR1")
    assert len(read_records(tmp_path, "steps", where={"run_id": wanted})) == 2 * len(wanted)
    with pytest.raises(GradflowError, match="part-00000.parquet: not a readable parquet file"):
        read_records(tmp_path, "steps")


def add_layers(writer, step, **columns):
    count = len(columns["grad_norm"])
    values = {
        "step": step,
        "layer_index": list(range(count)),
        "layer_name": [f"layer{i}" for i in range(count)],
        "block_index": [None, *range(count - 1)],
        "kind": "conv",
        "weight_norm": 1.0,
        "update_norm": 1.0,
    }
    writer.add("layers", **{**values, **columns})


def test_derived_columns_of_layers(tmp_path):
    with RecordWriter(tmp_path / "a", "a") as writer:
        add_layers(
            writer,
            0,
            grad_norm=[0.0, 2.0, math.inf, math.nan, None],
            weight_norm=[2.0, 4.0, 0.0, 0.0, 1.0],
            update_norm=[1.0, 0.0, 1.0, 0.0, math.inf],
        )
    frame = read_records(tmp_path, "layers")
    assert list(frame.columns) == [*SCHEMAS["layers"].names, "relative_update", "grad_state"]
    assert frame.grad_state.tolist() == ["finite", "finite", "inf", "nan", "none"]
    expected = [0.5, 0, math.inf, math.nan, math.inf]
    np.testing.assert_array_equal(frame.relative_update.to_numpy(), expected)

    chosen = read_records(
        tmp_path, "layers", columns=["grad_state", "step"], where={"layer_index": [4, 0]}
    )
    assert list(chosen.columns) == ["grad_state", "step"]  # without what it was computed from
    assert chosen.grad_state.tolist() == ["finite", "none"]
    with pytest.raises(GradflowError, match="steps.grad_state: no such column"):
        read_records(tmp_path, "steps", columns=["grad_state"])


VALUES = {
    pa.string(): "é",
    pa.int32(): 2**31 - 1,
    pa.int64(): 2**53 + 1,
    pa.float32(): 0.1,
    pa.float64(): 0.1,
    pa.bool_(): True,
    pa.timestamp("ms", tz="UTC"): datetime(2031, 2, 3, 4, 5, 6, 7000, UTC),
    pa.list_(pa.int64()): [1, 2**40],
    pa.list_(pa.float64()): [0.1, 2.0],
}
TEXT = "str" if pd.__version__ >= "3" else "object"
TYPE_NAMES = {  # in the order of VALUES
    "pandas": f"{TEXT} int32 int64 float32 float64 bool datetime64[ms,UTC] object object",
    "polars": "String Int32 Int64 Float32 Float64 Boolean "
    "Datetime(time_unit='ms',time_zone='UTC') List(Int64) List(Float64)",
    "duckdb": "VARCHAR INTEGER BIGINT FLOAT DOUBLE BOOLEAN TIMESTAMPWITHTIMEZONE BIGINT[] DOUBLE[]",
}


@pytest.fixture(scope="module")
def every_table(tmp_path_factory):
    """A run's folder with two rows in every table."""
    folder = tmp_path_factory.mktemp("run")
    with RecordWriter(folder, "a") as writer:
        for table, schema in SCHEMAS.items():
            values = {entry.name: [VALUES[entry.type]] * 2 for entry in schema}
            writer.add(table, **{**values, "run_id": "a"})
    return folder


def test_pyarrow_alone_reads_types_and_values(every_table):
    for table, schema in SCHEMAS.items():
        rows = pq.read_table(every_table / table)
        assert rows.schema.equals(schema), table
        for entry in schema:
            expected = "a" if entry.name == "run_id" else VALUES[entry.type]
            expected = pa.scalar(expected, entry.type).as_py()  # 0.1 as float32 is another number
            assert rows[entry.name].to_pylist() == [expected] * 2, (table, entry.name)


@pytest.mark.parametrize("reader", ["pandas", "polars", "duckdb"])
def test_other_readers_see_the_same_types(every_table, reader):
    module = pytest.importorskip(reader)
    names = dict(zip(VALUES, TYPE_NAMES[reader].split(), strict=True))
    for table, schema in SCHEMAS.items():
        if reader == "duckdb":
            rows = module.sql(f"select * from '{every_table / table}/*.parquet'")
            found = dict(zip(rows.columns, rows.types, strict=True))
        else:
            found = module.read_parquet(every_table / table)
            found = found.dtypes.to_dict() if reader == "pandas" else found.schema
        stored = {name: str(kind).replace(" ", "") for name, kind in found.items()}
        assert stored == {entry.name: names[entry.type] for entry in schema}, table


def random_study(folder, seed):
    """Four runs of three parts each, the last without a row in runs: (layers, runs) as frames."""
    rng = np.random.default_rng(seed)
    layers, runs = [], []
    for number, name in enumerate("abcd"):
        with RecordWriter(folder / name, name) as writer:
            for step in range(3):
                norms = rng.lognormal(size=7).astype(np.float32)
                norms[rng.random(7) < 0.1] = np.inf
                null = rng.random(7) < 0.3
                null[5:] = name != "b", True  # layers without a gradient in other runs, in all
                add_layers(writer, step, grad_norm=pa.array(norms, mask=null))
                writer.flush()
                frame = pd.DataFrame({"run_id": name, "step": step, "layer_index": range(7)})
                frame["block_index"] = [np.nan, *range(6)]
                layers.append(frame.assign(grad_norm=np.where(null, np.nan, norms.astype(float))))
            if name != "d":
                run = {"network_depth": 8 + 6 * (number // 2), "network_skip": bool(number % 2)}
                add_run(writer, **run)
                runs.append({"run_id": name, **run})
    return pd.concat(layers), pd.DataFrame(runs)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "by",
    [
        ["layer_index"],
        ["step", "block_index"],  # null is a group of its own
        ["run_id"],
        ["network_skip", "run_id"],
        ["network_depth"],
        ["layer_index", "network_depth"],
        ["layer_index", "network_depth", "network_skip"],
    ],
)
def test_means_agree_with_pandas(tmp_path, seed, by):
    rows, runs = random_study(tmp_path, seed)
    if any(name.startswith("network") for name in by):
        rows = rows.merge(runs, on="run_id")
    groups = rows.groupby(by, dropna=False).grad_norm  # pandas leaves the nulls out
    expected = groups.agg(["mean", "count"]).reset_index()
    found = read_means(tmp_path, "layers", "grad_norm", by)
    assert list(found.columns) == [*by, "mean", "count"]
    found, expected = (f.sort_values(by).reset_index(drop=True) for f in (found, expected))
    assert_frame_equal(found, expected, check_dtype=False, rtol=1e-12)
    assert np.isinf(found["mean"]).any()


def test_a_nan_makes_its_means_nan(tmp_path):
    """Also where the other rows of the group are of another run."""
    for name, losses in {"a": [math.nan, 1.0], "b": [2.0, 3.0]}.items():
        with RecordWriter(tmp_path / name, name) as writer:
            add_steps(writer, [0, 1], loss=losses)
            add_run(writer, network_depth=8)
    found = read_means(tmp_path, "steps", "loss", ["step"])
    np.testing.assert_array_equal(found.sort_values("step")["mean"], [math.nan, 2])
    found = read_means(tmp_path, "steps", "loss", ["network_depth"])
    assert math.isnan(found["mean"][0])
    assert found["count"][0] == 4


def test_compaction_makes_one_part_of_many(tmp_path):
    write_steps(tmp_path / "a", [5, 2, 9, 2])
    before = read_records(tmp_path, "steps")
    writer = RecordWriter(tmp_path / "a", "a")
    add_steps(writer, [1])  # rows still buffered are part of it
    writer.compact()
    frame = read_records(tmp_path, "steps")
    assert frame.step.tolist() == [5, 2, 9, 2, 1]
    assert_frame_equal(frame[:4], before)
    assert len(list((tmp_path / "a" / "steps").iterdir())) == 1
    assert [entry.name for entry in (tmp_path / "a").iterdir()] == ["steps"]
    assert pq.read_table(tmp_path / "a" / "steps")["step"].to_pylist() == [5, 2, 9, 2, 1]


def test_compaction_leaves_a_single_part_alone(tmp_path):
    write_steps(tmp_path / "a", [0])
    (part,) = (tmp_path / "a" / "steps").iterdir()
    before = part.stat()
    RecordWriter(tmp_path / "a", "a").compact()
    after = part.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_no_name_ever_stands_for_two_files(tmp_path):
    """A reader that has listed the parts must not find other rows under the same name."""
    writer = RecordWriter(tmp_path / "a", "a")
    seen = {}
    for step in range(12):
        add_steps(writer, [step])
        writer.compact() if step % 4 == 3 else writer.flush()
        for part in (tmp_path / "a" / "steps").iterdir():
            rows = pq.read_table(part)["step"].to_pylist()
            assert seen.setdefault(part.name, rows) == rows
    assert read_records(tmp_path, "steps").step.tolist() == list(range(12))


def test_size_of_a_million_rows(tmp_path):
    """Twelve of a row's bytes are its three floats; names and numbers must cost next to none."""
    layers, steps, rng = 110, 9091, np.random.default_rng(0)
    names = pa.array([f"stages.{i // 36}.{i // 2}.conv{i % 2}.weight" for i in range(layers)])
    writer = RecordWriter(tmp_path / "a", "0123456789abcdef")
    for first in range(0, steps, 1000):
        index = np.tile(np.arange(layers), min(1000, steps - first))
        floats = rng.lognormal(sigma=2.0, size=(3, len(index))).astype(np.float32)
        writer.add(
            "layers",
            step=first + np.arange(len(index)) // layers,
            layer_index=index,
            layer_name=names.take(index),
            block_index=pa.array(index // 2, mask=index == 0),
            kind="conv",
            **dict(zip(["grad_norm", "weight_norm", "update_norm"], floats, strict=True)),
        )
        writer.flush()
    writer.compact()
    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert pq.read_table(tmp_path / "a" / "layers").num_rows == layers * steps >= 1_000_000
    assert size <= 14 * layers * steps


def test_unknown_names_are_told(tmp_path):
    write_steps(tmp_path / "a", range(1))
    with pytest.raises(GradflowError, match="table=stepz: choose one of runs, attempts, steps"):
        read_records(tmp_path, "stepz")
    with pytest.raises(GradflowError, match="table=stepz: choose one of runs"):
        RecordWriter(tmp_path, "a").add("stepz", step=[1])
    with pytest.raises(GradflowError, match="steps.losss: no such column; valid: run_id, step"):
        read_records(tmp_path, "steps", columns=["losss"])
    with pytest.raises(GradflowError, match="steps.stepp: no such column; valid: run_id, step"):
        read_records(tmp_path, "steps", where={"stepp": 1})
    with pytest.raises(GradflowError, match="table steps: missing or unknown columns.*losss"):
        RecordWriter(tmp_path, "a").add("steps", losss=[1])
    with pytest.raises(GradflowError, match="steps.depth: no such column; valid: run_id"):
        read_means(tmp_path, "steps", "loss", ["depth"])
    with pytest.raises(GradflowError, match="no such numeric column; valid: step, epoch, loss"):
        read_means(tmp_path, "steps", "run_id", ["step"])


def test_a_query_that_cannot_be_is_not_blamed_on_the_files(tmp_path):
    write_steps(tmp_path / "a", range(1))
    with pytest.raises(GradflowError, match="where steps.step=first: not a value of type int32"):
        read_records(tmp_path, "steps", where={"step": "first"})
    with pytest.raises(GradflowError, match=r"^by=\[\]: name at least one column"):
        read_means(tmp_path, "steps", "loss", [])


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(GradflowError, match="nowhere: no such folder"):
        read_runs(tmp_path / "nowhere")
    with pytest.raises(GradflowError, match="holds no runs records"):
        read_runs(tmp_path)
    with pytest.raises(GradflowError, match="holds no steps records"):
        read_means(tmp_path, "steps", "loss", ["step"])


def test_a_study_none_of_whose_runs_has_finished(tmp_path):
    write_steps(tmp_path / "a", range(1))
    (tmp_path / "a" / "config.yaml").write_text("seed: 0\n")
    with pytest.raises(GradflowError, match="none of its 1 runs has finished"):
        read_runs(tmp_path)


def test_the_page_of_quantities_has_a_row_for_each():
    from gradflow.records.quantities import QUANTITIES, reference

    rows = [line for line in reference().splitlines() if line.startswith("| ")][2:]
    assert [row.split(" | ")[1] for row in rows] == [f"`{q.name}`" for q in QUANTITIES]


def test_a_flipped_bit_in_a_digest_is_another_digest(tmp_path):
    """Also where it makes the byte no letter."""
    path = tmp_path / "part-00000.parquet"
    whole = sealed(pa.table({"a": [1]}))
    path.write_bytes(whole)
    right = digest_of(path)
    place = whole.rfind(right.encode())
    for bit in range(8):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        assert digest_of(path) != right
