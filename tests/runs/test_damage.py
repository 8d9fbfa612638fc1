"""Whatever happens to a file of a run: what is shown is right, or a line names the file."""

import os
import random
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from gradflow.analysis import status
from gradflow.analysis.report import page
from gradflow.analysis.study import load_study
from gradflow.config.hydra_bridge import load_run_config
from gradflow.config.saved import write_config
from gradflow.core.errors import DamageError, GradflowError
from gradflow.core.interrupts import Interrupted
from gradflow.core.locks import held, lock_of
from gradflow.diagnostics.paths import PathsConfig
from gradflow.records import SCHEMAS, RecordWriter, read_records, read_runs
from gradflow.records.damage import damage_of
from gradflow.records.set_aside import BEFORE, CHECKPOINT
from gradflow.runs.execute import diagnose_ended, execute
from gradflow.runs.planning import ended_config, plan, plan_study
from gradflow.runs.status import state_of, study_states
from gradflow.training.checkpoint import load_final, read_checkpoint
from tests.support.configs import name_analysis, small_config
from tests.support.processes import assert_equal_records, interrupt_at

PLACES = 20  # that a file is truncated at
FLIPS = 5  # times that four of its bytes are flipped


def faults():
    """Name -> what it does to a file. The last place is one byte before the end."""

    def truncated(share):
        def cut(path):
            data = path.read_bytes()
            path.write_bytes(data[: int(share * (len(data) - 1))])

        return cut

    def flipped(seed):
        def flip(path):
            data, draw = bytearray(path.read_bytes()), random.Random(seed)
            for place in draw.sample(range(len(data)), 4):
                data[place] ^= draw.randrange(1, 256)
            path.write_bytes(data)

        return flip

    def into_folder(path):
        path.unlink()
        path.mkdir()

    def zeroed(path):
        path.write_bytes(bytes(path.stat().st_size))

    found = {f"truncated {i}": truncated(i / (PLACES - 1)) for i in range(PLACES)}
    found |= {f"flipped {seed}": flipped(seed) for seed in range(FLIPS)}
    found |= {"zeros": zeroed, "a folder": into_folder}
    return found


def chosen_faults(names):
    """Those of these names, or all."""
    return [faults()[name] for name in names or faults()]


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """A study of two runs that have ended, seeds 0 and 1."""
    root = tmp_path_factory.mktemp("ended")
    for seed in (0, 1):
        execute(small_config(root, seed=seed, study="s"))
    name_analysis(root / "s", "degradation")
    read_runs(root / "s")  # which leaves an index
    return root / "s"


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """An interrupted run, with two checkpoints and several parts of most tables."""
    root = tmp_path_factory.mktemp("begun")
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, 6)
        with pytest.raises(Interrupted):
            execute(begun_config(root))
    [folder] = (root / "s").iterdir()
    assert len(list((folder / "steps").iterdir())) == 6
    return root


def begun_config(root):
    return small_config(root, steps=9, checkpoint_seconds=0, study="s")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return execute(begun_config(tmp_path_factory.mktemp("undisturbed"))).folder


def files_of(run):
    """One file of each kind: of the parts of a table, the one in the middle."""
    found = [path for path in run.iterdir() if path.is_file()]
    for table in (path for path in run.iterdir() if path.is_dir()):
        parts = sorted(table.iterdir())
        found.append(parts[len(parts) // 2])
    return sorted(str(path.relative_to(run)) for path in found)


def copied(folder, tmp_path, name="copy"):
    return shutil.copytree(folder, tmp_path / name)


def tried(function, *arguments):
    """What it returns, and None; or None, and the line of its error."""
    try:
        return function(*arguments), None
    except GradflowError as error:
        return None, str(error)


def check_reading(study, run, file, tables):
    """Every table is as it was, or the error names the file."""
    for table, rows in tables.items():
        for folder in (study, study / run):
            expected = rows if folder == study else rows[rows.run_id == run]
            found, error = tried(read_records, folder, table)
            if error:
                assert f"{run}/{file}" in error
            else:
                found, expected = (f.reset_index(drop=True) for f in (found, expected))
                pd.testing.assert_frame_equal(found, expected)


def equal_states(one, other):
    return list(one) == list(other) and all(map(torch.equal, one.values(), other.values()))


def check_views(study, run, file, tables, expected_of):
    name = f"{run}/{file}"
    states = study_states(study)
    text = status.report(states)
    if list(states.state) != ["finished"] * 2:
        assert name in text
    shown = load_study(study)
    told = "\n".join(shown.notes)
    assert len(shown.runs) == 2 or name in told
    for table in ("steps", "layers", "evaluations"):
        expected = tables[table].run_id.isin(shown.runs.run_id).sum()
        assert len(shown.records(table, ["step"])) == expected
    weights, error = tried(load_final, study / run)
    assert name in error if error else equal_states(weights, expected_of["weights"])
    config, error = tried(ended_config, study / run)
    assert name in error if error else config == expected_of["config"]
    assert [r.state for r in plan_study(shown_configs(study))]  # nothing stops the others


def shown_configs(study):
    return [small_config(study.parent, seed=seed, study="s") for seed in (0, 1)]


FEW = ["truncated 1", "flipped 0", "a folder"]


@pytest.mark.parametrize(
    "chosen", [FEW, pytest.param(None, marks=pytest.mark.slow)], ids=["few", "all"]
)
def test_every_view_of_an_ended_run_is_right_or_names_the_file(ended, tmp_path, chosen):
    run = sorted(path.name for path in ended.iterdir() if path.is_dir())[0]
    tables = {
        table: read_records(ended, table) for table in SCHEMAS if any(ended.glob(f"*/{table}"))
    }
    expected = {"weights": load_final(ended / run), "config": ended_config(ended / run)}
    seen = 0
    for file in files_of(ended / run):
        for fault in chosen_faults(chosen):
            study = copied(ended, tmp_path)
            fault(study / run / file)
            if file.endswith(".parquet"):
                check_reading(study, run, file, tables)
            check_views(study, run, file, tables, expected)
            shutil.rmtree(study)
            seen += 1
    assert seen >= 9 * len(chosen_faults(chosen))


@pytest.mark.slow
def test_the_report_of_a_study_with_damage_names_it_and_shows_the_rest(
    study_folder, tmp_path, capsys
):
    for number, file in enumerate(
        ("layers/part-00000.parquet", "runs/part-00000.parquet", "config.yaml")
    ):
        study = copied(study_folder, tmp_path, f"study-{number}")
        name_analysis(study, "degradation")
        run = sorted(path.name for path in study.iterdir() if (path / "runs").is_dir())[0]
        faults()["flipped 0"](study / run / file)
        page.main([str(study)])
        assert f"{run}/{file}" in capsys.readouterr().out
        text = (study / page.PAGE).read_text()
        assert "no gradients were recorded" not in text
        assert f"{run}/{file}" in text


@pytest.mark.parametrize(
    "chosen", [FEW, pytest.param(None, marks=pytest.mark.slow)], ids=["few", "all"]
)
def test_a_damaged_run_resumes_to_the_records_of_an_undisturbed_one(
    begun, undisturbed, tmp_path, capsys, chosen
):
    [run] = (begun / "s").iterdir()
    files = files_of(run)
    assert {CHECKPOINT, BEFORE, "config.yaml"} < set(files)
    for file in files:
        for fault in chosen_faults(chosen):
            root = copied(begun, tmp_path)
            folder = root / "s" / run.name
            fault(folder / file)
            [planned] = plan_study([begun_config(root)])
            assert planned.state == "interrupted"
            status.report(study_states(root / "s"))
            capsys.readouterr()
            result = execute(begun_config(root))
            told = capsys.readouterr().err
            assert_equal_records(undisturbed, result.folder)
            assert not damage_of(folder)
            load_run_config(folder / "config.yaml")
            if file != BEFORE:  # which nobody needs
                assert f"{run.name}/{file}" in told
                aside = folder / f"{file.replace('/', '-')}.damaged"
                assert aside.exists()
                assert aside.name in status.report(study_states(root / "s"))
            shutil.rmtree(root)


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not stop root")
def test_a_file_that_may_not_be_read_is_named_and_stays(begun, ended, undisturbed, tmp_path):
    [run] = (begun / "s").iterdir()
    for file in files_of(run):
        root = copied(begun, tmp_path)
        folder = root / "s" / run.name
        (folder / file).chmod(0)
        _, error = tried(execute, begun_config(root))
        if file != BEFORE:
            assert f"{run.name}/{file}" in error
        (folder / file).chmod(0o600)
        status.report(study_states(root / "s"))
        assert_equal_records(undisturbed, execute(begun_config(root)).folder)
        shutil.rmtree(root)
    study = copied(ended, tmp_path)
    run = next(path for path in study.iterdir() if path.is_dir())
    for file in files_of(run):
        (run / file).chmod(0)
        for read in (load_final, ended_config, damage_of):
            assert f"{run.name}/{file}" in (tried(read, run)[1] or f"{run.name}/{file}")
        (run / file).chmod(0o600)


def test_both_checkpoints_damaged_start_at_step_0(begun, undisturbed, tmp_path, capsys):
    root = copied(begun, tmp_path)
    [folder] = (root / "s").iterdir()
    for name in (CHECKPOINT, BEFORE):
        (folder / name).write_bytes(b"")
    result = execute(begun_config(root))
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert_equal_records(undisturbed, result.folder)
    assert read_records(folder, "attempts").resumed_from.isna().all()


def test_the_checkpoint_before_is_one_save_older(begun, tmp_path, capsys):
    root = copied(begun, tmp_path)
    [folder] = (root / "s").iterdir()
    assert read_checkpoint(folder / CHECKPOINT, folder.name).steps_done == 6
    (folder / CHECKPOINT).write_bytes(b"")
    result = execute(begun_config(root))
    assert len(capsys.readouterr().err.splitlines()) == 1
    last = read_records(result.folder, "attempts").resumed_from.iloc[-1]
    assert last.startswith("step 5,")


def test_another_runs_checkpoint_and_weights_are_refused(begun, ended, undisturbed, tmp_path):
    root = copied(begun, tmp_path)
    [folder] = (root / "s").iterdir()
    other = tmp_path / "other" / "another1"
    shutil.copytree(folder, other)
    with pytest.raises(DamageError, match=f"is of another run, {folder.name}"):
        read_checkpoint(other / CHECKPOINT, other.name)
    one, two = sorted(path for path in copied(ended, tmp_path, "e").iterdir() if path.is_dir())
    shutil.copy(one / "final.pt", two / "final.pt")
    with pytest.raises(DamageError, match=f"{two.name}/final.pt: is of another run, {one.name}"):
        load_final(two)


def test_weights_of_an_older_version_are_read_and_checked_by_their_archive(ended, tmp_path):
    run = next(path for path in copied(ended, tmp_path).iterdir() if path.is_dir())
    state = load_final(run)
    torch.save(state, run / "final.pt")
    assert all(map(torch.equal, load_final(run).values(), state.values()))
    data = bytearray((run / "final.pt").read_bytes())
    place = data.index(next(iter(state.values())).numpy().tobytes())
    data[place] ^= 1
    (run / "final.pt").write_bytes(data)
    with pytest.raises(DamageError, match="final.pt"):
        load_final(run)


def rewritten(part, change):
    """A part as somebody else writes it, without a digest."""
    pq.write_table(
        change(pq.read_table(part, partitioning=None)).replace_schema_metadata(None), part
    )


def test_missing_columns_are_named_unless_they_were_added_later(ended, tmp_path):
    run = next(path for path in copied(ended, tmp_path).iterdir() if path.is_dir())
    rewritten(run / "steps/part-00000.parquet", lambda rows: rows.drop_columns("loss"))
    with pytest.raises(DamageError, match="steps/part-00000.parquet: .*column loss is missing"):
        read_records(run, "steps")
    rewritten(
        run / "attempts/part-00000.parquet", lambda rows: rows.drop_columns("instruction_set")
    )
    assert read_records(run, "attempts").instruction_set.isna().all()
    rewritten(run / "layers/part-00000.parquet", lambda rows: rows.set_column(
        rows.column_names.index("step"), "step", rows["step"].cast(pa.string())
    ))  # fmt: skip
    with pytest.raises(DamageError, match="layers/part-00000.parquet: .*step is string, not int32"):
        read_records(run, "layers")


def test_one_damaged_runs_file_stops_nobody_and_the_run_is_done_again(ended, tmp_path, capsys):
    study = copied(ended, tmp_path, "s")
    one, two = sorted(path for path in study.iterdir() if path.is_dir())
    (one / "runs/part-00000.parquet").write_bytes(b"PAR1")
    assert read_runs(study).run_id.tolist() == [two.name]
    assert (state_of(one), state_of(two)) == ("failed", "finished")
    config = replace(ended_config(two), output_root=str(tmp_path))
    seed = 1 - config.seed
    assert plan(replace(config, seed=seed)).state == "failed"
    result = execute(replace(config, seed=seed, study=config.study))
    assert f"{one.name}/runs/part-00000.parquet" in capsys.readouterr().err
    assert (result.folder, result.status, result.skipped) == (one, "finished", False)
    assert_equal_records(ended, study)


@pytest.mark.parametrize("damaged", ["layers", "steps", "runs", "attempts", "config.yaml"])
def test_an_ended_run_with_damage_is_named_with_the_command_that_makes_its_rows_again(
    ended, tmp_path, capsys, damaged
):
    study = copied(ended, tmp_path, "s")
    one = min(path for path in study.iterdir() if path.is_dir())
    config = replace(ended_config(one), output_root=str(tmp_path))
    assert plan(config).state == "finished"
    file = damaged if damaged == "config.yaml" else f"{damaged}/part-00000.parquet"
    damaged_file = next(one.glob(file.replace("00000", "*")))
    faults()["flipped 0"](damaged_file)
    before = damaged_file.read_bytes()
    assert plan(config).state == ("failed" if damaged == "runs" else "damaged")
    text = status.report(study_states(study))
    assert str(damaged_file) in text
    if damaged != "config.yaml":
        assert f"gradflow train --config-path {one} --config-name config" in text
    capsys.readouterr()
    result = execute(config)
    assert f"{one.name}/{damaged_file.relative_to(one)}" in capsys.readouterr().err
    assert result.skipped == (damaged in ("attempts", "config.yaml"))  # nothing to be trained
    assert result.status == "finished"
    assert_equal_records(ended, study)
    attempts = read_records(study, "attempts").run_id
    expected = 2 if not result.skipped else 0 if damaged == "attempts" else 1
    assert (attempts == one.name).sum() == expected
    assert (one / f"{file.replace('/', '-')}.damaged").read_bytes() == before
    assert "damaged and moved aside" in status.report(study_states(study))
    assert not load_study(study).runs.run_id.ne(one.name).all()  # it is shown again
    assert plan(config).state == "finished"
    assert execute(config).skipped


def one_part(run, table):
    [part] = (run / table).iterdir()
    return part


def piped(run, other):
    path = one_part(run, "layers")
    path.unlink()
    os.mkfifo(path)


def linked_to_nothing(run, other):
    path = one_part(run, "layers")
    path.unlink()
    path.symlink_to("nowhere")


LOST = {
    "a part that is missing": lambda run, _: one_part(run, "layers").unlink(),
    "a table that is missing": lambda run, _: shutil.rmtree(run / "steps"),
    "a part that is doubled": lambda run, _: shutil.copy(
        one_part(run, "layers"), run / "layers" / "part-00099.parquet"
    ),
    "a part of another run": lambda run, other: shutil.copy(
        one_part(other, "layers"), one_part(run, "layers")
    ),
    "an ending of another run": lambda run, other: shutil.copy(
        one_part(other, "runs"), one_part(run, "runs")
    ),
    "a part of another table": lambda run, _: shutil.copy(
        one_part(run, "steps"), run / "layers" / "part-00099.parquet"
    ),
    "a link to nothing": linked_to_nothing,
    "a pipe": piped,
}


@pytest.mark.parametrize("kind", LOST)
def test_whole_files_in_the_wrong_place_and_lost_ones_are_named(ended, tmp_path, kind):
    study = copied(ended, tmp_path, "s")
    one, two = sorted(path for path in study.iterdir() if path.is_dir())
    config = replace(ended_config(one), output_root=str(tmp_path))
    LOST[kind](one, two)
    for table in ("layers", "steps"):  # no row twice, and none lost in silence
        for folder, whole in ((study, ended), (one, ended / one.name)):
            rows, error = tried(read_records, folder, table)
            if error is None:
                pd.testing.assert_frame_equal(rows, read_records(whole, table))
            assert error is None or f"{one}/" in error
    assert plan(config).state in ("damaged", "failed")
    assert f"{one}/" in status.report(study_states(study))
    shown = load_study(study)
    assert list(shown.runs.run_id) == [two.name]
    assert f"{one}/" in "\n".join(shown.notes)
    assert not execute(config).skipped
    assert_equal_records(ended, study)
    assert plan(config).state == "finished"


@pytest.mark.parametrize("name", ["renamed", ".hidden", "a copy"])
def test_a_run_that_is_there_twice_counts_once(ended, tmp_path, name):
    study = copied(ended, tmp_path, "s")
    one = min(path for path in study.iterdir() if path.is_dir())
    shutil.copytree(one, study / name)
    assert len(read_runs(study)) == 2
    assert len(load_study(study).runs) == 2
    assert f"{study / name}/" in status.report(study_states(study))
    with pytest.raises(DamageError, match=f"it is of {one.name}/steps\\); move it away"):
        read_records(study, "steps")


def test_a_run_without_its_config_is_named_and_gets_it_again(ended, tmp_path):
    study = copied(ended, tmp_path, "s")
    one = min(path for path in study.iterdir() if path.is_dir())
    config = replace(ended_config(one), output_root=str(tmp_path))
    (one / "config.yaml").unlink()
    assert f"{one}/config.yaml" in status.report(study_states(study))
    assert f"{one}/config.yaml" in "\n".join(load_study(study).notes)
    assert execute(config).skipped
    assert ended_config(one) == config


def test_damaged_diagnoses_are_pending_again_and_nothing_else_is_touched(ended, tmp_path, capsys):
    study = copied(ended, tmp_path, "s")
    one = min(path for path in study.iterdir() if path.is_dir())
    plain = replace(ended_config(one), output_root=str(tmp_path))
    config = replace(plain, diagnostic=PathsConfig(at="final", images=8))
    assert not execute(config).skipped
    tables = {t: read_records(one, t) for t in config.diagnostic.TABLES}
    weights = load_final(one)
    for table in (*tables, "diagnoses"):
        [part] = (one / table).iterdir()
        faults()["truncated 10"](part)
        assert plan(config).state == "damaged"
        capsys.readouterr()
        assert not execute(config).skipped
        assert str(part) in capsys.readouterr().err
        for name, rows in tables.items():
            pd.testing.assert_frame_equal(read_records(one, name), rows)
        assert plan(config).state == "finished"
    assert equal_states(load_final(one), weights)
    assert len(read_records(one, "attempts")) == 1
    # A training that is done again takes its diagnoses with it, and says so.
    faults()["zeros"](next((one / "steps").iterdir()))
    assert not execute(plain).skipped
    assert "gradflow diagnose" in capsys.readouterr().err
    assert not any((one / t).exists() and list((one / t).iterdir()) for t in tables)
    assert not execute(config).skipped
    for name, rows in tables.items():
        pd.testing.assert_frame_equal(read_records(one, name), rows)


def test_an_edited_config_is_named_and_its_run_not_diagnosed(ended, tmp_path):
    study = copied(ended, tmp_path)
    run = next(path for path in study.iterdir() if path.is_dir())
    path = run / "config.yaml"
    text = path.read_text().replace("skip: true", "skip: false")
    path.write_text(text)
    with pytest.raises(DamageError, match="config.yaml: is not what was written"):
        ended_config(run)
    body = text.partition("\n")[2]
    for edit in (lambda: path.write_text(body), lambda: write_config(yaml.safe_load(body), path)):
        edit()  # by somebody who knows of the digest
        with pytest.raises(DamageError, match="network_skip is False, but the run was made with"):
            ended_config(run)
    shutil.copy(next(p for p in study.glob("*/config.yaml") if p != path), path)
    with pytest.raises(DamageError, match="is of another run"):
        ended_config(run)


def test_a_part_that_is_damaged_while_the_run_is_trained_is_made_again(
    tmp_path, undisturbed, monkeypatch, capsys
):
    import gradflow.training.between_steps as loop

    evaluate, calls = loop.evaluate_splits, []

    def evaluate_and_damage(*arguments):
        calls.append(None)
        for part in tmp_path.glob("s/*/layers/part-00000.parquet") if len(calls) == 2 else ():
            faults()["flipped 1"](part)
        return evaluate(*arguments)

    monkeypatch.setattr(loop, "evaluate_splits", evaluate_and_damage)
    result = execute(begun_config(tmp_path))
    assert "layers/part-00000.parquet" in capsys.readouterr().err
    assert_equal_records(undisturbed, result.folder)
    errors = read_records(result.folder, "attempts").error
    assert errors.isna().tolist() == [False, True]
    assert errors[0].startswith("DamageError")


def test_a_lock_is_of_the_real_path_and_its_loss_is_noticed(tmp_path):
    folder = tmp_path / "outputs" / "s" / "run"
    folder.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link"
    link.symlink_to(folder.parent)
    assert lock_of(link / "run").lock_file == lock_of(folder).lock_file
    writer = RecordWriter(folder, "run")

    def write(step):
        writer.add(
            "evaluations", step=[step], split="test", loss=[1.0], error=[0.5], batch_error=[0.5]
        )
        writer.flush()

    with held(lock_of(folder)):
        write(0)
        shutil.rmtree(tmp_path / "outputs" / ".locks")
        for takes in (False, True):  # nobody has begun the run; another process has
            if takes:
                path = Path(lock_of(folder).lock_file)
                path.touch()
            with pytest.raises(GradflowError, match=r"\.lock: the lock was deleted while"):
                write(1)
    assert read_records(folder, "evaluations").step.tolist() == [0]


def test_the_newest_attempt_is_the_one_written_last_whatever_the_clock_says(begun, tmp_path):
    root = copied(begun, tmp_path)
    [folder] = (root / "s").iterdir()
    rows = read_records(folder, "attempts").iloc[0].to_dict()
    earlier = rows["started"] - pd.Timedelta(days=1)
    rows = {name: None if pd.isna(value) else value for name, value in rows.items()}
    with RecordWriter(folder, folder.name) as writer:
        writer.add("attempts", **rows | {"started": earlier, "error": "ValueError: late"})
    assert state_of(folder) == "failed"


def test_a_damaged_table_stops_the_diagnosis_of_its_run_alone(ended, tmp_path):
    study = copied(ended, tmp_path, "s")
    run = next(path for path in study.iterdir() if path.is_dir())
    (run / "final.pt").write_bytes(b"")
    config = replace(
        ended_config(run), output_root=str(tmp_path), diagnostic=PathsConfig(at="final")
    )
    with pytest.raises(DamageError, match=f"{run.name}/final.pt"):
        diagnose_ended(config, run)
    assert not (run / "diagnoses").exists()
