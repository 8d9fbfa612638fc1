"""Exact resume: what a run keeps to go on as if it had never stopped.

Nothing random is kept: batches, augmentation, noise and masks are functions of (run seed,
purpose, epoch or step). What is kept is the network, the optimiser's state and how many
steps are done; records written after that are cut off again.
"""

import os
import pickle
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gradflow.errors import GradflowError
from gradflow.provenance import code_version
from gradflow.states import CHECKPOINT

FINAL = "final.pt"


class Checkpoints:
    """The one checkpoint of a run's folder, replaced every `seconds`.

    Its records up to the checkpoint must be on disk before it is saved.
    """

    def __init__(self, folder: Path, seconds: float):
        self.path = folder / CHECKPOINT
        self.seconds = seconds
        self._saved = time.monotonic()

    def due(self) -> bool:
        return time.monotonic() - self._saved >= self.seconds

    def save(self, network: nn.Module, optimizer: torch.optim.Optimizer, steps_done: int) -> None:
        """Keep this moment.

        Raises:
            GradflowError: the disk is full or the folder cannot be written to; the
                checkpoint before is intact.
        """
        state = {
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "steps_done": steps_done,
            "code_version": code_version(),
            "torch_version": str(torch.__version__),
        }
        _save(self.path, state)
        self._saved = time.monotonic()

    def restore(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> int:
        """Put both where the checkpoint left them; the number of steps done.

        0 where there is none, or where other code wrote it: the run then begins anew.

        Raises:
            GradflowError: it was written under another torch version, which computes other
                bits.
        """
        if not self.path.exists():
            return 0
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        if state["code_version"] != code_version():
            return 0
        if state["torch_version"] != str(torch.__version__):
            raise GradflowError(
                f"{self.path.parent}: was begun under torch {state['torch_version']}, and this "
                f"is {torch.__version__}, which computes other bits; go on with that one, or "
                "delete the folder to begin anew"
            )
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        steps_done: int = state["steps_done"]
        return steps_done


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


def discard_checkpoint(folder: Path) -> None:
    """The run has ended and nobody goes on from it."""
    (folder / CHECKPOINT).unlink(missing_ok=True)


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
