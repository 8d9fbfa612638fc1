"""Exact resume: what a run keeps to go on as if it had never stopped.

Nothing random is kept: batches, augmentation, noise and masks are functions of (run seed,
purpose, epoch or step). What is kept is the network, the optimiser's state, how many steps
are done and by what; records written after that are cut off again.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gradflow.core.errors import DamageError, GradflowError
from gradflow.core.files import move_aside
from gradflow.core.locks import check_held
from gradflow.core.progress import tell
from gradflow.records import cut_back
from gradflow.records.damage import mend
from gradflow.records.set_aside import (
    BEFORE,
    CHECKPOINT,
    PREFIX,
    bring_back,
    forget,
    set_aside,
    tidy,
    unused_steps,
)
from gradflow.records.writer import errors_named
from gradflow.training.origin import Origin
from gradflow.training.signed import load_signed, save_signed

FINAL = "final.pt"


@dataclass
class Saved:
    """A checkpoint that was read.

    Attributes:
        origins: of the process that saved it, and before it of those whose steps are in it
            though they were of another origin (resume=force).
    """

    network: Mapping[str, Any]
    optimizer: dict[str, Any]
    steps_done: int
    origins: list[Origin]

    def __str__(self) -> str:
        return f"step {self.steps_done}, {self.origins[-1]}"


class Checkpoints:
    """The last two checkpoints of a run's folder, a new one every `seconds`.

    Its records up to the checkpoint must be on disk before it is saved.
    """

    def __init__(self, folder: Path, seconds: float, origins: list[Origin]):
        self.folder = folder
        self.seconds = seconds
        self.origins = origins
        self._saved = time.monotonic()

    def due(self) -> bool:
        """Whether `seconds` have passed since the last save."""
        return time.monotonic() - self._saved >= self.seconds

    def save(self, network: nn.Module, optimizer: torch.optim.Optimizer, steps_done: int) -> None:
        """Keep this moment; a checkpoint that was set aside is deleted once this is as far.

        Raises:
            GradflowError: the disk is full or the folder cannot be written to, and the
                checkpoint before is intact; or the lock that this process had on the run is
                lost.
        """
        check_held(self.folder)
        state = {
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "steps_done": steps_done,
            "origins": [tuple(origin) for origin in self.origins],
        }
        with errors_named(self.folder):
            save_signed(self.folder / CHECKPOINT, state, keep=self.folder / BEFORE)
        unused = unused_steps(self.folder)
        if unused is not None and unused <= steps_done:
            forget(self.folder)
        self._saved = time.monotonic()


def read_checkpoint(path: Path, run_id: str) -> Saved:
    """What `Checkpoints.save` left of the run with this id.

    Raises:
        DamageError: it is not what was written, or it is of another run.
        GradflowError: it may not be read.
    """
    state = load_signed(path, run_id)
    try:
        return Saved(**(state | {"origins": [Origin(*origin) for origin in state["origins"]]}))
    except (KeyError, TypeError) as error:
        raise DamageError(f"{path}: is of another version of gradflow") from error


def resume(folder: Path, run: str, present: Origin, *, force: bool) -> Saved | None:
    """The checkpoint that a run resumes from; None if it starts at step 0.

    Records of later steps are cut off. Damaged checkpoints and parts are moved aside, with a
    line each; without the rows of a part the run resumes from a checkpoint before them. A
    checkpoint of another origin is not used unless `force`: it is set aside, and a line says
    so. With `force` the one that is farthest is used, one that was set aside before included.

    Raises:
        GradflowError: the folder cannot be read or written to.
    """
    tidy(folder)
    saved = _newest(folder, run)
    unused = unused_steps(folder)
    if force and unused is not None and (saved is None or saved.steps_done < unused):
        saved = _brought_back(folder, run) or saved
    lost = mend(folder)
    for line in lost.lines:
        tell(f"{run}: {line}")
    if saved is not None and lost.steps is not None and saved.steps_done > lost.steps:
        with errors_named(folder):
            (folder / CHECKPOINT).unlink()  # some of the records that it goes with are lost
        saved = _newest(folder, run)
        if saved is not None and saved.steps_done > lost.steps:
            with errors_named(folder):
                (folder / CHECKPOINT).unlink()
            saved = None
    if lost.lines:
        tell(f"{run}: resumes at step {0 if saved is None else saved.steps_done}, as rows are lost")
    if saved is None:
        cut_back(folder, 0)
        return None
    step, differing = saved.steps_done, _differing(saved.origins[-1], present)
    if not differing or force:
        if differing:
            tell(f"{run}: resume=force: resumes at step {step} all the same ({differing})")
        cut_back(folder, step)
        return saved
    tell(
        f"{run}: the checkpoint of step {step} is not used ({differing}): the run starts at step "
        f"0; resume=force would resume it at step {max(step, unused or 0)}"
    )
    set_aside(folder, step)
    return None


def _newest(folder: Path, run: str) -> Saved | None:
    """The last checkpoint that is whole, under the name CHECKPOINT; those that are not go."""
    for path in (folder / CHECKPOINT, folder / BEFORE):
        if not path.exists():
            continue
        try:
            saved = read_checkpoint(path, folder.name)
        except DamageError as error:
            with errors_named(folder):
                aside = move_aside(path, folder)
            tell(f"{run}: {error}; it is not used, and moved to {aside.name}")
            continue
        with errors_named(folder):
            path.replace(folder / CHECKPOINT)
            if (folder / BEFORE).is_dir():  # which no file can take the place of
                move_aside(folder / BEFORE, folder)
        return saved
    return None


def _brought_back(folder: Path, run: str) -> Saved | None:
    """The checkpoint that was set aside, in its place again; None if it is damaged."""
    place = folder / f"{PREFIX}{unused_steps(folder)}"
    try:
        saved = read_checkpoint(place / CHECKPOINT, folder.name)
    except DamageError as error:
        tell(f"{run}: {error}; it is not used, and deleted")
        forget(folder)
        return None
    bring_back(folder)
    return saved


def origins_of(resumed: Saved | None, present: Origin) -> list[Origin]:
    """Of all steps of a run that resumes, or starts, now; the present one last."""
    before = [] if resumed is None else resumed.origins
    return [*(origin for origin in before if origin != present), present]


def _differing(saved: Origin, present: Origin) -> str:
    return ", ".join(
        f"{name.replace('_', ' ')} {then}, now {now}"
        for name, then, now in zip(Origin._fields, saved, present, strict=True)
        if then != now
    )


def restore(saved: Saved, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Put both where the checkpoint left them.

    Raises:
        GradflowError: it was saved by other code, and this code's network is another.
    """
    where = f"{CHECKPOINT} of {saved}"
    load_weights(network, saved.network, where)
    try:
        optimizer.load_state_dict(saved.optimizer)
    except (ValueError, KeyError) as error:
        raise GradflowError(f"{where}: does not fit this code's optimizer ({error})") from error
    for group in optimizer.param_groups:  # a rate that is a tensor was read to the CPU
        if isinstance(group["lr"], torch.Tensor):
            group["lr"] = group["lr"].to(group["params"][0].device)
    saved.network, saved.optimizer = {}, {}  # not to be held twice through the training


def load_weights(network: nn.Module, state: Mapping[str, Any], where: object) -> None:
    """Put the weights of a state_dict into a network.

    Raises:
        GradflowError: their names or shapes are not the network's.
    """
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise GradflowError(f"{where}: does not fit this code's network ({reason})") from error


def save_final(folder: Path, network: nn.Module) -> None:
    """Keep the trained weights as a state_dict, `final.pt`, which torch.load reads too.

    Raises:
        GradflowError: as `Checkpoints.save`.
    """
    check_held(folder)
    with errors_named(folder):
        save_signed(folder / FINAL, network.state_dict())


def load_final(folder: Path) -> dict[str, Any]:
    """The state_dict that `save_final` left.

    Raises:
        GradflowError: there is none, it is not what was written, or it is of another run.
    """
    try:
        state: dict[str, Any] = load_signed(folder / FINAL, folder.name, unsigned=True)
    except GradflowError as error:
        raise type(error)(
            f"{error}; no trained weights to be read there: delete the run's folder and run it "
            "again, or use diagnostic.at=initialization"
        ) from error
    return state


def discard_checkpoints(folder: Path) -> None:
    """The run has ended and nobody resumes it."""
    for name in (CHECKPOINT, BEFORE):
        (folder / name).unlink(missing_ok=True)
    forget(folder)
