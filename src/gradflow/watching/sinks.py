"""Where a watch shows its series too: CSV, TensorBoard, Weights & Biases, trackio.

    gradflow.watch(model, "runs/first", sinks=[TensorBoard("tb/first")])

Each series is one layer's or one block's quantity under a readable name, such as
`gradient/blocks.3.qkv`; the run's figure comes at the end. A sink is any object with `measured`
and `close`. What goes wrong in one is a warning.
"""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from gradflow.core.errors import GradflowError, shown
from gradflow.records.reader import path_of

OF_LAYERS = {"gradient": "grad_norm", "weight": "weight_norm"}
OF_BLOCKS = {
    "block gradient": "input_grad_norm",
    "shortcut share": "skip_share",
    "stream": "input_rms",
}
"""Beginning of a series' name -> the column of layers or blocks that it is of."""


class Sink(Protocol):
    """Takes what a watch measures."""

    def measured(self, step: int, tables: Mapping[str, pa.Table], loss: float | None) -> None:
        """The tables of one measured step."""

    def close(self, watch: Any) -> None:
        """The watch has ended: its folder and figure are there."""


def checked(sinks: Any) -> list[Sink]:
    """The sinks.

    Raises:
        GradflowError: they are no sequence, or one of them does not measure and close.
    """
    if not isinstance(sinks, list | tuple):
        raise GradflowError(f"sinks={shown(sinks)}: must be a list, such as [TensorBoard('tb/a')]")
    for sink in sinks:
        methods = (getattr(sink, name, None) for name in ("measured", "close"))
        if isinstance(sink, type) or not all(map(callable, methods)):
            raise GradflowError(f"sinks: {shown(sink)}: must be an object with measured and close")
    return list(sinks)


def series(tables: Mapping[str, pa.Table], loss: float | None) -> dict[str, float]:
    """Name -> value of everything that one measured step shows; null values are left out."""
    layers = tables["layers"]
    found: dict[str, float] = {} if loss is None else {"loss": loss}
    for title, column in OF_LAYERS.items():
        found |= _of(title, layers["layer_name"], layers[column])
    ratio = np.array(layers["update_norm"].cast(pa.float64()).to_numpy())
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = ratio / layers["weight_norm"].cast(pa.float64()).to_numpy()
    found |= _of("update ratio", layers["layer_name"], pa.array(ratio, mask=np.isnan(ratio)))
    if "blocks" in tables:
        blocks = tables["blocks"]
        for title, column in OF_BLOCKS.items():
            found |= _of(title, blocks["block_name"], blocks[column])
    return found


def _of(title: str, names: Any, values: Any) -> dict[str, float]:
    pairs = zip(names.to_pylist(), values.to_pylist(), strict=True)
    return {f"{title}/{name}": value for name, value in pairs if value is not None}


class Csv:
    """One file with a row per step and series: step, name, value.

    Raises:
        GradflowError: the file is there already, or its folder is not.
    """

    def __init__(self, path: str | Path):
        self._path = Path(path_of(path))
        if self._path.exists() or not self._path.parent.is_dir():
            why = "is there already" if self._path.exists() else "its folder does not exist"
            raise GradflowError(f"{shown(path)}: {why}")
        with self._path.open("w", newline="") as file:
            csv.writer(file).writerow(("step", "name", "value"))

    def measured(self, step: int, tables: Mapping[str, pa.Table], loss: float | None) -> None:
        """Append the rows."""
        with self._path.open("a", newline="") as file:
            csv.writer(file).writerows((step, n, v) for n, v in series(tables, loss).items())

    def close(self, watch: Any) -> None:
        """Save the figure beside the file."""
        watch.plot(self._path.with_suffix(".png"))


class TensorBoard:
    """Event files in a folder.

    Raises:
        GradflowError: tensorboardX is not installed.
    """

    def __init__(self, folder: str | Path):
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise GradflowError(
                "TensorBoard: needs tensorboardX: pip install 'gradflow[tensorboard]'"
            ) from error
        self._writer = SummaryWriter(str(path_of(folder)))

    def measured(self, step: int, tables: Mapping[str, pa.Table], loss: float | None) -> None:
        """Add the scalars."""
        for name, value in series(tables, loss).items():
            self._writer.add_scalar(name, value, step)

    def close(self, watch: Any) -> None:
        """Add the figure."""
        self._writer.add_image("run", _pixels(watch), dataformats="HWC")
        self._writer.close()


class Tracked:
    """A run of Weights & Biases or of trackio that the user has begun.

        Tracked(wandb)      # after wandb.init(mode="offline")
        Tracked(trackio)    # after trackio.init(project=...)

    Args:
        tracker: the package, or a run: anything with `log`.

    Raises:
        GradflowError: it has no `log`.
    """

    def __init__(self, tracker: Any):
        if not callable(getattr(tracker, "log", None)):
            raise GradflowError(f"tracker={shown(tracker)}: must have log(), as wandb has")
        self._tracker = tracker

    def measured(self, step: int, tables: Mapping[str, pa.Table], loss: float | None) -> None:
        """Log the series; the step is one of them, as a run's own steps may be others."""
        self._tracker.log({"gradflow/step": step} | _prefixed(series(tables, loss)))

    def close(self, watch: Any) -> None:
        """Log the figure, if the tracker has images."""
        image = getattr(self._tracker, "Image", None)
        if image is not None:
            self._tracker.log({"gradflow/run": image(_pixels(watch))})


def _prefixed(values: Mapping[str, float]) -> dict[str, float]:
    return {f"gradflow/{name}": value for name, value in values.items()}


def _pixels(watch: Any) -> Any:
    """The run's figure, [height, width, 3] of bytes."""
    made = watch.plot()
    made.canvas.draw()
    return np.asarray(made.canvas.buffer_rgba())[..., :3].copy()
