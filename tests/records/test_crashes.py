"""What killed writers, full and read-only disks leave behind, and reading during a compaction."""

import itertools
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from gradflow.core.errors import GradflowError
from gradflow.records import SCHEMAS, RecordWriter, read_means, read_records
from gradflow.records.writer import REPLACED, recover
from tests.records.test_records import add_steps, write_steps

ROWS = 3  # of a flush
TABLES = ("steps", "evaluations")


def add_rows(writer, table, first):
    steps = list(range(first, first + ROWS))
    if table == "steps":
        add_steps(writer, steps)
    else:
        writer.add(
            table, step=steps, split="test", loss=[s / 2 for s in steps], error=0.5, batch_error=0.5
        )


def flush_rows(writer, first):
    for table in TABLES:
        add_rows(writer, table, first)
    writer.flush()


def fork(work):
    """Do `work(tell)` in a child; its process id, and a file of the lines that it tells."""
    lines, told = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work(lambda *values: os.write(told, (json.dumps(values) + "\n").encode()))
            status = 0
        finally:
            os._exit(status)
    os.close(told)
    return child, os.fdopen(lines)


def write_for_ever(folder, tell):
    writer = RecordWriter(folder, folder.name)
    for flush in itertools.count(1):
        flush_rows(writer, (flush - 1) * ROWS)
        tell(flush * ROWS, "flushed")
        if flush % 3 == 0:
            tell(flush * ROWS, "compacting")
            writer.compact()
            tell(flush * ROWS, "compacted")


def kill_at_random_moments(root):
    rng = random.Random(0)
    for name in map(str, range(50)):
        child, lines = fork(lambda tell, folder=root / name: write_for_ever(folder, tell))
        told = [lines.readline()]
        time.sleep(rng.uniform(0, 0.08))
        os.kill(child, signal.SIGKILL)
        assert os.waitpid(child, 0)[1] == signal.SIGKILL  # it did not end of an error before
        told += lines
        print(json.dumps([name, *json.loads(told[-1])]))


def die_before(number, work):
    """In a child: `work`, killed before its operation `number` on files. Whether it was."""
    seen = itertools.count()

    def watch(event, args):
        touches = event in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir")
        if touches and next(seen) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(tell):
        sys.addaudithook(watch)
        work()

    status = os.waitpid(fork(watched)[0], 0)[1]
    assert status in (0, signal.SIGKILL)
    return status != 0


def kill_at_every_operation(root):
    """Once while rows are flushed and compacted, then again while the next writer does so."""
    rng = random.Random(0)
    before = RecordWriter(root / "before", "a")
    for flush in range(3):
        flush_rows(before, flush * ROWS)
    for number in itertools.count():
        once, twice = root / f"{number}", root / f"{number}-again"
        shutil.copytree(before.folder, once)

        def work(folder=once):
            writer = RecordWriter(folder, "a")
            flush_rows(writer, 3 * ROWS)
            writer.compact()

        if not die_before(number, work):
            break
        shutil.copytree(once, twice)
        print(json.dumps([once.name, 3 * ROWS, "once"]))
        if die_before(rng.randrange(20), RecordWriter(twice, "a").compact):
            print(json.dumps([twice.name, 3 * ROWS, "again"]))


def deaths(kill, root):
    """(folder, last row of a completed flush, when it was killed) of each killed writer.

    `kill` prints them: it forks, so it has a process for itself, without pytest's threads.
    """
    code = f"import tests.records.test_crashes as t; t.{kill}(t.Path({str(root)!r}))"
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert found.returncode == 0, found.stderr
    return [json.loads(line) for line in found.stdout.splitlines()]


def check_rows(rows, *lengths):
    """Every row whole, once, in order."""
    assert rows.step.tolist() == list(range(len(rows)))
    assert rows.loss.tolist() == [step / 2 for step in range(len(rows))]
    assert len(rows) in lengths


def check_order(folder, lengths):
    """Nothing is there but parts, and a plain reader sees what ours does."""
    assert {path.name for path in folder.iterdir()} <= set(TABLES)
    assert {path.suffix for path in folder.glob("*/*")} <= {".parquet"}
    for table, length in lengths.items():
        check_rows(read_records(folder, table), length)
        check_rows(pq.read_table(folder / table).to_pandas(), length)


@pytest.mark.parametrize(
    "kill",
    [pytest.param("kill_at_random_moments", marks=pytest.mark.slow), "kill_at_every_operation"],
)
def test_a_killed_writer_loses_no_flush_and_doubles_no_row(tmp_path, kill):
    found = deaths(kill, tmp_path)
    for number, (name, flushed, _) in enumerate(found):
        folder, lengths = tmp_path / name, {}
        for part in folder.rglob("*.parquet"):
            assert pq.read_table(part).num_rows % ROWS == 0
        for table in TABLES:
            rows = read_records(folder, table)
            check_rows(rows, flushed, flushed + ROWS)
            if (folder / table).exists():
                check_rows(pq.read_table(folder / table).to_pandas(), len(rows))
            lengths[table] = len(rows)
        if number % 2:  # of the others, the next writer finds what the dead one left
            recover(folder)
            check_order(folder, lengths)
        writer = RecordWriter(folder, name)
        for table in TABLES:
            add_rows(writer, table, lengths[table])
        writer.compact()
        check_order(folder, {table: length + ROWS for table, length in lengths.items()})
        assert [len(list((folder / table).iterdir())) for table in TABLES] == [1, 1]
    assert len(found) >= (50 if "random" in kill else 20)
    assert sum(when in ("compacting", "again") for *_, when in found) >= 10


def between_renames(folder):
    """9 rows in a run's folder whose compaction has done the first of its two renames."""
    write_steps(folder, range(9))
    shutil.copytree(folder / "steps", folder / "parts")
    RecordWriter(folder, folder.name).compact()
    (folder / "steps").rename(folder / "steps.whole")
    (folder / "parts").rename(folder / f"steps{REPLACED}")
    return folder / "steps", folder / "steps.whole", folder / f"steps{REPLACED}"


@pytest.mark.parametrize("state", ["writing the whole", "between the renames", "deleting parts"])
@pytest.mark.parametrize("cure", ["none", "recover", "flush", "compact", "flush and compact"])
def test_a_death_in_compaction(tmp_path, state, cure):
    folder, length = tmp_path / "a", 9
    steps, whole, replaced = between_renames(folder)
    if state == "writing the whole":
        replaced.rename(steps)
        (part,) = whole.iterdir()
        part.rename(whole / ".part-00009.tmp")
    elif state == "deleting parts":
        whole.rename(steps)
        (replaced / "part-00004.parquet").unlink()
    writer = RecordWriter(folder, "a")
    if cure == "recover":
        recover(folder)
    if "flush" in cure:
        add_steps(writer, [9])
        writer.flush()
        length = 10
    if "compact" in cure:
        writer.compact()
    for path in (folder, tmp_path):
        check_rows(read_records(path, "steps"), length)
        assert len(read_means(path, "steps", "loss", ["step"])) == length
    if cure != "none":
        check_order(folder, {"steps": length})


def test_what_is_being_written_is_not_seen(tmp_path):
    write_steps(tmp_path / "a", range(2))
    (tmp_path / "a" / "steps" / ".part-00002.tmp").write_bytes(b"half a")
    check_rows(read_records(tmp_path, "steps"), 2)
    check_rows(pq.read_table(tmp_path / "a" / "steps").to_pandas(), 2)


@pytest.mark.parametrize("left", [0, 2])
def test_parts_that_are_deleted_when_the_reader_lists_them(tmp_path, monkeypatch, left):
    """The table has no folder, the reader turns to the parts set aside, and the run goes on."""
    steps, whole, replaced = between_renames(tmp_path / "a")
    scandir = os.scandir

    def late(path):
        if Path(path) == replaced and whole.exists():
            whole.rename(steps)
            for part in sorted(replaced.iterdir())[left:]:
                part.unlink()
            if not left:
                replaced.rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", late)
    check_rows(read_records(tmp_path / "a", "steps"), 9)


def test_parts_that_are_deleted_after_the_reader_opened_their_folder(tmp_path, monkeypatch):
    """What it has opened lists as empty; the run's rows must not be missing from the study's."""
    for name in "ab":
        write_steps(tmp_path / name, range(4))
    scandir = os.scandir

    def early(path):
        entries = scandir(path)
        if Path(path) == tmp_path / "a" / "steps":
            monkeypatch.setattr(os, "scandir", scandir)
            RecordWriter(tmp_path / "a", "a").compact()
        return entries

    monkeypatch.setattr(os, "scandir", early)
    assert read_records(tmp_path, "steps").step.tolist() == [0, 1, 2, 3] * 2


def test_a_run_that_ends_while_the_reader_lists_its_parts_is_not_damaged(tmp_path, monkeypatch):
    for name in "ab":
        write_steps(tmp_path / name, range(4))
    scandir = os.scandir

    def early(path):
        entries = list(scandir(path))
        if Path(path) == tmp_path / "a" / "steps":
            monkeypatch.setattr(os, "scandir", scandir)
            with RecordWriter(tmp_path / "a", "a") as writer:
                writer.compact()
                writer.add("runs", **dict.fromkeys(SCHEMAS["runs"].names[1:]))
        return entries

    monkeypatch.setattr(os, "scandir", early)
    assert read_records(tmp_path, "steps").step.tolist() == [0, 1, 2, 3] * 2
    assert read_records(tmp_path, "runs").run_id.tolist() == ["a"]


def test_a_diagnosis_leaves_the_parts_of_the_training_as_the_run_ended_with_them(tmp_path):
    write_steps(tmp_path / "a", range(2))
    with RecordWriter(tmp_path / "a", "a") as writer:
        writer.compact()
        writer.add("runs", **dict.fromkeys(SCHEMAS["runs"].names[1:]))
    [part] = (tmp_path / "a" / "steps").iterdir()
    shutil.copy(part, surplus := part.with_name("part-00077.parquet"))
    RecordWriter(tmp_path / "a", "a").compact()  # as after a diagnosis
    surplus.unlink()
    assert read_records(tmp_path, "steps").step.tolist() == [0, 1]


def test_reading_while_a_run_compacts(tmp_path):
    flushed = [0]

    def work():
        writer = RecordWriter(tmp_path / "a", "a")
        for flush in range(160):
            add_rows(writer, "steps", flush * ROWS)
            writer.flush()
            flushed[0] = (flush + 1) * ROWS
            if flush % 8 == 7:
                writer.compact()

    thread = threading.Thread(target=work)
    thread.start()
    reads = 0
    while thread.is_alive():
        if least := flushed[0]:
            rows = read_records(tmp_path / "a" if reads % 2 else tmp_path, "steps")
            check_rows(rows, *range(least, flushed[0] + ROWS + 1, ROWS))
            reads += 1
    thread.join()
    assert flushed[0] == 160 * ROWS
    assert reads >= 20


@pytest.mark.parametrize("damage", ["torn", "empty", "no parquet", "a page overwritten"])
def test_a_damaged_part_is_named(tmp_path, damage):
    write_steps(tmp_path / "a", range(2))
    part = tmp_path / "a" / "steps" / "part-00001.parquet"
    data = part.read_bytes()
    damaged = {
        "torn": data[:-20],
        "empty": b"",
        "no parquet": b"PAR1 no PAR1",
        "a page overwritten": data[:4] + bytes(100) + data[104:],  # the footer is whole
    }
    part.write_bytes(damaged[damage])
    named = pytest.raises(GradflowError, match="a/steps/part-00001.parquet: not a readable")
    with named:
        read_records(tmp_path, "steps")
    with named:
        read_means(tmp_path, "steps", "loss", ["step"])


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(disk)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small disk can be mounted here: {getattr(error, 'stderr', error)}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def refused(folder, why):
    said = f"^{re.escape(str(folder))}: records cannot be written .*({why})"
    return pytest.raises(GradflowError, match=said)


def test_a_full_disk_at_a_flush(small_disk):
    folder, filler = small_disk / "a", small_disk / "filler"
    filler.write_bytes(bytes(100_000))
    writer, flushed = RecordWriter(folder, "a"), 0
    with refused(folder / "steps", "No space left"):
        while True:
            add_steps(writer, range(flushed, flushed + 2000))
            writer.flush()
            flushed += 2000
    assert flushed > 0
    check_order(folder, {"steps": flushed})
    filler.unlink()
    writer.flush()  # what could not be written was kept
    check_order(folder, {"steps": flushed + 2000})


def test_a_full_disk_at_a_compaction(small_disk):
    folder = small_disk / "a"
    write_steps(folder, range(9))
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free))
    with refused(folder / "steps", "No space left"):
        RecordWriter(folder, "a").compact()
    check_rows(read_records(folder, "steps"), 9)
    assert not list(folder.rglob("*.tmp"))
    assert len(list((folder / "steps").iterdir())) == 9
    filler.unlink()
    RecordWriter(folder, "a").compact()
    check_order(folder, {"steps": 9})


@pytest.fixture
def freezer(request, tmp_path):
    """A folder, and a function that makes it read-only."""
    if os.geteuid() == 0:  # whom permissions do not stop
        disk = request.getfixturevalue("small_disk")
        command = ["mount", "-o", "remount,ro", str(disk)]
        yield disk, lambda: subprocess.run(command, check=True)
    else:
        folder = tmp_path / "frozen"
        folder.mkdir()
        yield folder, lambda: subprocess.run(["chmod", "-R", "a-w", str(folder)], check=True)
        subprocess.run(["chmod", "-R", "u+w", str(folder)], check=True)


def test_a_read_only_folder(freezer):
    disk, freeze = freezer
    write_steps(disk / "a", range(3))
    freeze()
    writer = RecordWriter(disk / "a", "a")
    with refused(disk / "a" / "steps", "Read-only|Permission denied"):
        writer.compact()
    add_steps(writer, [3])
    with refused(disk / "a" / "steps", "Read-only|Permission denied"):
        writer.flush()
    check_order(disk / "a", {"steps": 3})
    writer = RecordWriter(disk / "b", "b")
    add_steps(writer, [0])
    with refused(disk / "b" / "steps", "Read-only|Permission denied"):
        writer.flush()
