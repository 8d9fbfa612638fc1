"""A disk that is full or only read at any moment: one line that names the file, then right results.

Every change that a run makes to its files is tried as the first that fails: planning (locks, the
decoded data), the start (folder, config), parts, checkpoints, the end, its diagnosis; then the
index and the report.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from gradflow.analysis import status
from gradflow.analysis.report import page
from gradflow.core.door import one_line
from gradflow.diagnostics.paths import PathsConfig
from gradflow.records import read_records, read_runs
from gradflow.records.damage import damage_of
from gradflow.runs.execute import execute
from gradflow.runs.planning import plan
from gradflow.runs.status import study_states
from gradflow.training import signed
from gradflow.training.signed import save_signed
from tests.support.configs import name_analysis, small_config
from tests.support.disks import FULL, READ_ONLY, failing
from tests.support.processes import assert_equal_records, command

SOME = 23  # in the quick test one of so many changes is tried


def config_of(root):
    diagnostic = PathsConfig(at="final", images=8)
    return small_config(root, steps=4, checkpoint_seconds=0, study="s", diagnostic=diagnostic)


def ended_with(function, *arguments):
    """The line that a command ends with; None if it succeeds."""
    try:
        with one_line():
            function(*arguments)
    except SystemExit as ended:
        return None if ended.code in (None, 0) else str(ended.code)
    return None


def check_line(line, root, error):
    assert line.startswith("error: "), line
    assert line.isprintable(), line
    assert str(root) in line
    assert os.strerror(error) in line


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    root = tmp_path_factory.mktemp("undisturbed")
    with failing(root, FULL, None) as disk:
        folder = execute(config_of(root)).folder
    assert disk.seen > 100
    return folder, disk.seen


@pytest.mark.parametrize("error", [FULL, READ_ONLY], ids=["full", "read-only"])
@pytest.mark.parametrize(
    "every", [SOME, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_a_run_whose_disk_fails_at_any_change(undisturbed, tmp_path, error, every):
    folder, changes = undisturbed
    for at in range(0, changes, every):
        root = tmp_path / f"at-{at}"
        root.mkdir()
        with failing(root, error, at):
            line = ended_with(execute, config_of(root))
        if line is not None:  # at the last changes the run had ended
            check_line(line, root, error)
        assert error != FULL or not list(root.rglob("*.tmp")), at
        run = plan(config_of(root)).folder
        assert not damage_of(run), at
        if (root / "s").is_dir() and any((root / "s").glob("*/config.yaml")):
            status.report(study_states(root / "s"))
        again = execute(config_of(root))
        assert again.status == "finished", at
        assert_equal_records(folder, again.folder)
        assert not list(root.rglob("*.tmp")), at
        shutil.rmtree(root)


@pytest.mark.parametrize("error", [FULL, READ_ONLY], ids=["full", "read-only"])
def test_an_index_that_cannot_be_written_is_done_without(study_folder, tmp_path, error):
    study = shutil.copytree(study_folder, tmp_path / "s")
    (study / ".index.parquet").unlink(missing_ok=True)
    expected = read_records(study, "runs").run_id.tolist()
    for at in range(4):
        with failing(study, error, at):
            assert sorted(read_runs(study).run_id) == sorted(expected)
            assert set(study_states(study).state) == {"finished"}
        assert not list(study.glob("*.tmp")) or error == READ_ONLY
    assert sorted(read_runs(study).run_id) == sorted(expected)


@pytest.mark.parametrize(
    "error", [pytest.param(FULL, marks=pytest.mark.slow), READ_ONLY], ids=["full", "read-only"]
)
@pytest.mark.parametrize(
    "drawn", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["page", "figures"]
)
def test_a_report_that_cannot_be_written_is_one_line(study_folder, tmp_path, error, drawn):
    study = shutil.copytree(study_folder, tmp_path / "s")
    name_analysis(study, *(["degradation"] if drawn else []))
    ended = {}
    for at in (0, 3, 6, 9, 20, 40) if drawn else range(8):
        with failing(study, error, at):
            ended[at] = ended_with(page.main, [str(study)])
        for line in filter(None, ended[at].split("\n") if ended[at] else ()):
            check_line(line, study, error)
    assert ended[0] is not None
    assert ended_with(page.main, [str(study)]) is None
    whole = (study / page.PAGE).read_text()
    assert whole.endswith("</html>\n") or "</html>" in whole
    assert not drawn or (study / "figures" / "degradation.png").exists()
    assert error == READ_ONLY or not list(study.rglob("*.tmp"))


class Full:
    def write(self, data):
        raise OSError(FULL, os.strerror(FULL))


def test_a_checkpoint_of_which_one_write_fails_is_the_disks_error(tmp_path, monkeypatch):
    """torch would report a position in its archive, if the writes after it succeed."""
    path = tmp_path / "run" / "checkpoint.pt"
    path.parent.mkdir()
    save_signed(path, {"before": torch.zeros(3)})
    before, write = path.read_bytes(), signed._Hashed.write
    state = {str(i): torch.zeros(1000) for i in range(5)}
    for failing_write in range(8):
        left = iter([True] * failing_write + [False] + [True] * 1000)

        def once(self, data, left=left):
            file, self.file = self.file, self.file if next(left) else Full()
            try:
                return write(self, data)
            finally:
                self.file = file

        monkeypatch.setattr(signed._Hashed, "write", once)
        with pytest.raises(OSError, match="No space left"):
            save_signed(path, state)
        assert path.read_bytes() == before
        assert os.listdir(path.parent) == [path.name]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one's own, and a function that sets its size."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(disk)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no small disk can be mounted here")

    def resize(size):
        subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)

    yield disk, resize
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.slow
def test_the_command_on_a_disk_that_is_full(small_disk, tmp_path):
    disk, resize = small_disk
    words = ["steps=40", "checkpoint_seconds=0", "study.name=s"]
    subprocess.run(command(tmp_path / "whole", *words), check=True)
    for free in (4, 60, 300, 700, 900):  # KiB
        root = disk / str(free)
        resize(f"{shutil.disk_usage(disk).used // 1024 + free}k")
        done = subprocess.run(command(root, *words), capture_output=True, text=True)
        assert done.returncode == 1, free
        assert re.fullmatch(rf"error: {disk}\S* .*No space left on device.*\n", done.stderr), (
            done.stderr
        )
        resize("60m")
        assert not list(Path(root).rglob("*.tmp"))
        subprocess.run(command(root, *words), check=True, capture_output=True)
        assert_equal_records(tmp_path / "whole" / "s", root / "s")
