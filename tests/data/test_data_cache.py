"""Decoded copies: what is damaged or altered is made again, with one line; nothing else is."""

import json
import os
import resource
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradflow.core.errors import GradflowError
from gradflow.core.progress import reporting_to
from gradflow.data import cache
from gradflow.data.arrays import fingerprint, load_arrays, shapes
from gradflow.data.cache import arrays_of, fingerprint_of, note_of
from gradflow.data.sets.digits import DigitsConfig

ARRAYS = {
    f"{split}_{part}": np.random.default_rng(0).integers(0, 10, shape, dtype=np.uint8)
    for split, count in (("train", 6), ("test", 3))
    for part, shape in (("images", (count, 1, 2, 2)), ("labels", (count,)))
}
OTHER = ARRAYS | {"train_labels": (ARRAYS["train_labels"] + 1) % 10}


class Kept:
    """A folder with a decoded copy, how often it was made, and what the user was told."""

    def __init__(self, folder):
        self.folder, self.made, self.lines = folder, 0, []
        self.npz, self.note = folder / "toy.npz", folder / "toy.json"

    def decode(self):
        self.made += 1
        return ARRAYS

    def read(self):
        """Both ways, as a run does: what is planned, and what is trained on."""
        with reporting_to(lambda progress: None, self.lines.append):
            note = note_of("toy", self.decode, self.folder)
            arrays = arrays_of("toy", self.decode, self.folder)
        assert note.fingerprint == fingerprint_of(ARRAYS)
        assert note.shapes == {name: list(array.shape) for name, array in ARRAYS.items()}
        assert arrays.keys() == ARRAYS.keys()
        assert all(np.array_equal(arrays[name], ARRAYS[name]) for name in ARRAYS)
        assert {path.name for path in self.folder.iterdir()} == {
            "toy.npz",
            "toy.json",
            "toy.lock",
        }


@pytest.fixture
def kept(tmp_path):
    kept = Kept(tmp_path / "cache")
    kept.read()
    return kept


def keep_times(path, change):
    """Change a file as a failing disk does: neither its times nor its size tell."""
    before = path.stat()
    change(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


def test_a_copy_is_decoded_once_and_read_once(kept, monkeypatch):
    """Planning reads no array: it costs as much for a large data set as for a small one."""
    read = []
    monkeypatch.setattr(
        cache, "_read", lambda path, _read=cache._read: read.append(1) or _read(path)
    )
    kept.read()
    assert (kept.made, kept.lines, len(read)) == (1, [], 1)


@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_copy_is_made_again(tmp_path_factory, data):
    kept = Kept(tmp_path_factory.mktemp("cache"))
    kept.read()
    path = data.draw(st.sampled_from([kept.npz, kept.note]))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    match data.draw(st.sampled_from(["flip", "end", "zeros", "insertion"])):
        case "flip":
            content[at] ^= data.draw(st.integers(1, 255))
        case "end":
            del content[at:]
        case "zeros":
            content[at:] = bytes(len(content) - at)
        case "insertion":
            content[at:at] = b"x"
    keep_times(path, lambda path: path.write_bytes(content))
    kept.read()  # right, whatever was damaged: bytes that nothing reads may be
    assert len(kept.lines) == kept.made - 1 <= 1
    assert all(line.startswith(f"{kept.npz}: ") and "\n" not in line for line in kept.lines)


def test_bits_that_were_lost_without_a_trace_are_found_by_checksums(kept, monkeypatch):
    """The size and all times are as they were."""
    flip(kept.npz, kept.npz.read_bytes().index(ARRAYS["train_images"].tobytes()))
    stamp = json.loads(kept.note.read_bytes().partition(b"\n")[2])["stamp"]
    monkeypatch.setattr(cache, "_stamp", lambda path: stamp)
    kept.read()
    assert kept.lines == [f"{kept.npz}: is damaged; it is decoded again"]
    kept.read()
    assert kept.made == 2


def test_an_altered_copy_is_not_used(kept):
    keep_times(kept.npz, lambda path: np.savez(path, **OTHER))
    kept.read()
    assert kept.lines == [f"{kept.npz}: is damaged, or was altered; it is decoded again"]


def test_an_altered_note_is_not_believed(kept):
    text = kept.note.read_text().replace(fingerprint_of(ARRAYS), fingerprint_of(OTHER))
    kept.note.write_text(text)
    kept.read()
    [line] = kept.lines
    assert "toy.json, the note of what it holds, is missing or damaged" in line


def test_a_copy_of_something_else_is_not_used(kept):
    for suffix in ("npz", "json"):
        (kept.folder / f"toy.{suffix}").rename(kept.folder / f"other.{suffix}")
    note_of("other", lambda: OTHER, kept.folder)
    for suffix in ("npz", "json"):
        (kept.folder / f"other.{suffix}").rename(kept.folder / f"toy.{suffix}")
    (kept.folder / "other.lock").unlink()
    kept.read()
    assert kept.made == 2


def test_a_touched_copy_is_compared_and_kept(kept, monkeypatch):
    read = []
    monkeypatch.setattr(
        cache, "_read", lambda path, _read=cache._read: read.append(1) or _read(path)
    )
    os.utime(kept.npz, ns=(0, 0))
    for _ in range(3):
        kept.read()
    assert (kept.made, kept.lines, len(read)) == (1, [], 4)  # one comparison, three reads


def test_what_a_killed_process_left_is_removed(kept):
    (kept.folder / ".toy.npz.123.tmp").write_bytes(b"half")
    kept.npz.unlink()
    kept.read()
    assert (kept.made, kept.lines) == (2, [])


@pytest.mark.parametrize("name", ["toy.npz", "toy.json", "."])
def test_a_folder_or_file_in_the_place_is_named(tmp_path, name):
    place = tmp_path / "cache" / name
    if name == ".":
        (tmp_path / "cache").write_text("")
    else:
        place.mkdir(parents=True)
    with pytest.raises(GradflowError, match=r"toy.npz: decoded data cannot be written \(") as error:
        note_of("toy", lambda: ARRAYS, tmp_path / "cache")
    assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("cache/*.tmp"))


@pytest.mark.parametrize("room", [0, 100, 900])
def test_a_full_disk_is_one_line(tmp_path, room):
    """As the kernel refuses to write: a limit on the size of files, in bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(GradflowError, match=r"cannot be written \(File too large\)$"):
            note_of("toy", lambda: ARRAYS, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == []


def test_a_copy_that_is_only_read_is_used(kept, monkeypatch):
    """Also if its times are not those in the note, which cannot be written."""
    os.utime(kept.npz, ns=(0, 0))

    def refuse(path, note):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cache, "_write_note", refuse)
    monkeypatch.setattr(cache, "_locked", None)
    kept.read()
    assert (kept.made, kept.lines) == (1, [])


def test_one_process_of_several_decodes(tmp_path):
    script = """if True:
        import sys, time
        from pathlib import Path
        from gradflow.data.cache import note_of
        from tests.data.test_data_cache import ARRAYS
        def decode():
            print("decoded")
            time.sleep(0.2)
            return ARRAYS
        note_of("toy", decode, Path(sys.argv[1]))
        """
    command = [sys.executable, "-c", script, str(tmp_path / "cache")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    assert b"".join(process.communicate()[0] for process in running) == b"decoded\n"
    assert [process.returncode for process in running] == [0, 0]


def test_digits_go_the_same_way(tmp_path):
    config = DigitsConfig()
    before, sizes = fingerprint(config, tmp_path), shapes(config, tmp_path)
    (tmp_path / "digits.npz").write_bytes(b"PK and nothing of sense")
    lines = []
    with reporting_to(lambda progress: None, lines.append):
        assert len(load_arrays(config, tmp_path)["train_labels"]) == sizes.train == 1437
    assert len(lines) == 1
    assert (fingerprint(config, tmp_path), shapes(config, tmp_path)) == (before, sizes)
    assert sizes == (1437, 360, (1, 8, 8), 10, "classes")
