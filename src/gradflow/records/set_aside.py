"""What a run had done before it was started again, kept until the new attempt is as far.

A checkpoint that is not used stays with the records of its steps in `unused-<steps>` of the
run's folder, where readers of records do not look. Its checkpoint goes there last and comes
back first: without one in it, the folder is what a killed process left, and goes back.
"""

import os
import shutil
from pathlib import Path

from gradflow.records.schema import SCHEMAS
from gradflow.records.writer import cut_back, errors_named

CHECKPOINT = "checkpoint.pt"
BEFORE = "checkpoint.before.pt"  # the one before it
PREFIX = "unused-"
FORGOTTEN = ".forgotten"  # while it is deleted


def unused_steps(folder: Path) -> int | None:
    """How many steps the checkpoint that was set aside is after; None if there is none."""
    place = _place(folder)
    return None if place is None else int(place.name.removeprefix(PREFIX))


def set_aside(folder: Path, steps_done: int) -> None:
    """Take the checkpoint and the records of its steps out of the way; attempts stay.

    Of this one and one that was set aside before, the one that is farther is kept.

    Raises:
        GradflowError: as `RecordWriter.flush`.
    """
    before = unused_steps(folder)
    farther = before is None or steps_done > before
    cut_back(folder, steps_done if farther else 0)
    with errors_named(folder):
        (folder / BEFORE).unlink(missing_ok=True)
        if not farther:
            (folder / CHECKPOINT).unlink()
            return
    forget(folder)
    with errors_named(folder):
        place = folder / f"{PREFIX}{steps_done}"
        place.mkdir()
        for table, schema in SCHEMAS.items():
            if "step" in schema.names and (folder / table).is_dir():
                (folder / table).rename(place / table)
        (folder / CHECKPOINT).rename(place / CHECKPOINT)


def bring_back(folder: Path) -> None:
    """Put what was set aside in the place of the checkpoint and records that are there.

    Raises:
        GradflowError: as `RecordWriter.flush`.
    """
    place = _place(folder)
    assert place is not None
    cut_back(folder, 0)
    with errors_named(folder):
        (folder / BEFORE).unlink(missing_ok=True)
        os.replace(place / CHECKPOINT, folder / CHECKPOINT)
    tidy(folder)


def forget(folder: Path) -> None:
    """Delete what was set aside, if anything was.

    Raises:
        GradflowError: as `RecordWriter.flush`.
    """
    with errors_named(folder):
        if place := _place(folder):
            place.rename(folder / FORGOTTEN)
        if (folder / FORGOTTEN).exists():
            shutil.rmtree(folder / FORGOTTEN)


def tidy(folder: Path) -> None:
    """Put a run's folder in order after a process was killed in one of the above.

    Raises:
        GradflowError: as `RecordWriter.flush`.
    """
    with errors_named(folder):
        if (folder / FORGOTTEN).exists():
            shutil.rmtree(folder / FORGOTTEN)
        place = _place(folder)
        if place is not None and not (place / CHECKPOINT).exists():
            for table in place.iterdir():
                table.rename(folder / table.name)  # in the place of an empty folder at most
            place.rmdir()


def _place(folder: Path) -> Path | None:
    return next(folder.glob(f"{PREFIX}*"), None)
