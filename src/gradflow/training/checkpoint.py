"""Exact resume: what a run keeps to go on as if it had never stopped.

Nothing random is kept: batches, augmentation, noise and masks are functions of (run seed,
purpose, epoch or step). What is kept is the network, the optimiser's state, how many steps
are done and by what; records written after that are cut off again.
"""

import os
import pickle
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gradflow.core.errors import GradflowError
from gradflow.core.progress import tell
from gradflow.records import cut_back
from gradflow.records.set_aside import (
    CHECKPOINT,
    bring_back,
    forget,
    set_aside,
    tidy,
    unused_steps,
)
from gradflow.training.origin import Origin

FINAL = "final.pt"
UNREADABLE = (OSError, EOFError, RuntimeError, KeyError, TypeError, pickle.UnpicklingError)


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
    """The checkpoint of a run's folder, replaced every `seconds`.

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
            GradflowError: the disk is full or the folder cannot be written to; the
                checkpoint before is intact.
        """
        state = {
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "steps_done": steps_done,
            "origins": [tuple(origin) for origin in self.origins],
        }
        _save(self.folder / CHECKPOINT, state)
        unused = unused_steps(self.folder)
        if unused is not None and unused <= steps_done:
            forget(self.folder)
        self._saved = time.monotonic()


def read_checkpoint(path: Path) -> Saved:
    """What `Checkpoints.save` left.

    Raises:
        GradflowError: it cannot be read.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if "origins" not in state:  # saved before the instruction set was
            code, torch_version = state.pop("code_version"), state.pop("torch_version")
            state["origins"] = [(code, torch_version, "an unknown instruction set")]
        return Saved(**(state | {"origins": [Origin(*origin) for origin in state["origins"]]}))
    except UNREADABLE as error:
        raise GradflowError(f"{path}: cannot be read ({type(error).__name__})") from error


def resume(folder: Path, run: str, present: Origin, *, force: bool) -> Saved | None:
    """The checkpoint that a run resumes from; None if it starts at step 0.

    Records of later steps are cut off. A checkpoint of another origin is not used unless
    `force`: it is set aside, and a line says so. With `force` the one that is farthest is
    used, one that was set aside before included.

    Raises:
        GradflowError: the folder cannot be read or written to.
    """
    tidy(folder)
    saved = None
    if (folder / CHECKPOINT).exists():
        try:
            saved = read_checkpoint(folder / CHECKPOINT)
        except GradflowError as error:
            tell(f"{run}: {error}; it is not used")
    unused = unused_steps(folder)
    if force and unused is not None and (saved is None or saved.steps_done < unused):
        bring_back(folder)
        saved = read_checkpoint(folder / CHECKPOINT)
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
    """Keep the trained weights as a state_dict, `final.pt`."""
    _save(folder / FINAL, network.state_dict())


def load_final(folder: Path) -> dict[str, Any]:
    """The state_dict that `save_final` left.

    Raises:
        GradflowError: there is none, or it cannot be read.
    """
    try:
        state: dict[str, Any] = torch.load(folder / FINAL, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise GradflowError(
            f"{folder / FINAL}: no trained weights to be read there ({type(error).__name__}); "
            "delete the run's folder and run it again, or use diagnostic.at=initialization"
        ) from error
    return state


def discard_checkpoints(folder: Path) -> None:
    """The run has ended and nobody resumes it."""
    (folder / CHECKPOINT).unlink(missing_ok=True)
    forget(folder)


def _save(path: Path, state: Any) -> None:
    partial = path.with_suffix(".tmp")
    try:
        with open(partial, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise GradflowError(f"{path}: cannot be written ({error})") from error
