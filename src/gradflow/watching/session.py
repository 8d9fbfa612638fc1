"""A training that this package knows nothing of, measured into a run folder."""

import atexit
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from torch import Tensor, nn

from gradflow.config.validation import whole
from gradflow.core.errors import GradflowError, shown
from gradflow.probes import Probes
from gradflow.watching.alerts import Alarms, Alert
from gradflow.watching.ranks import combined, rank_and_ranks
from gradflow.watching.run_folder import RunFolder, facts_of, new_folder, setting_texts
from gradflow.watching.scalers import ScalerFinder
from gradflow.watching.seen import seen_of
from gradflow.watching.siblings import Siblings
from gradflow.watching.sinks import checked
from gradflow.watching.step_numbers import StepNumbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PATIENCE = 2  # measured steps without any gradient, or update, before a warning says so


class Watch:
    """Measures a training every few steps and records it; `gradflow.watch` makes one.

        with gradflow.watch(model, folder="runs/first") as watch:
            for x, y in batches:
                loss = loss_of(model(x), y)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                watch.step(loss)
        watch.plot()

    Layers and residual sums are found as `gradflow.probes.Probes` finds them. Nothing that goes
    wrong while it measures raises into the training: it warns, and the training is what it would
    be without it, bit for bit. Of several ranks, rank 0 writes; blocks are those of all ranks, and
    the loss is rank 0's.

    Attributes:
        folder: of the run's tables, see `gradflow.read_records`.
        alerts: all so far, see `gradflow.watching.alerts`.
    """

    def __init__(
        self,
        model: nn.Module,
        folder: str | Path,
        *,
        every: int = 10,
        details: int = 10,
        settings: Mapping[str, Any] | None = None,
        scaler: Any = None,
        on_alert: Callable[[Alert], object] | None = None,
        sinks: Sequence[Any] = (),
    ):
        if not isinstance(model, nn.Module):
            raise GradflowError(f"model={shown(model)}: must be a torch.nn.Module")
        self._every = whole("every", every, 1)
        self._details = self._every * whole("details", details, 1)
        texts = setting_texts(settings)
        if on_alert is not None and not callable(on_alert):
            raise GradflowError(f"on_alert={shown(on_alert)}: must be a function of an alert")
        self._sinks = checked(sinks)
        self._rank, self._ranks = rank_and_ranks()
        with warnings.catch_warnings():  # the blocks of all ranks are put together here
            warnings.filterwarnings("ignore", ".*blocks are of this rank's examples")
            self._probes = Probes(model, scaler=scaler)
        self.folder = new_folder(folder) if self._rank == 0 else Path(folder)
        self._siblings = Siblings(model)
        self._alarms = Alarms(scaled=scaler is not None)
        self._on_alert = on_alert
        self._records = RunFolder(self.folder, facts_of(model), texts)
        self._parameters = list(model.parameters()) if scaler is None else []
        self._finder: ScalerFinder | None = None
        self._numbers = StepNumbers()
        self._count = self._n_measured = 0
        self._without_gradient = self._without_update = 0
        self._started: float | None = None
        self._stopped: float | None = None
        self._seconds = 0.0
        self._warned: set[str] = set()
        self.alerts: list[Alert] = []

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(error)

    def start(self) -> Self:
        """Begin, before the first forward pass; `with` does it.

        Raises:
            GradflowError: it has begun already; or its folder cannot be written to.
        """
        if self._started is not None:
            raise GradflowError(f"{self.folder}: this watch has begun already; make another")
        if self._rank == 0:
            self._records.begin()
        self._started = time.perf_counter()
        atexit.register(self.close)
        if self._parameters:
            self._finder = ScalerFinder(self._parameters, partial(self._apart, self._adopt))
        self._arm()
        return self

    def step(self, loss: Tensor | float | None = None, **scalars: Tensor | float) -> None:
        """A step of the training is over: call it after the optimizer's step, once per step.

        Args:
            loss: of the step's batch; recorded for every step, without waiting for a GPU.
            scalars: any numbers of the step by name; `learning_rate` has a column of its own.
        """
        if self._started is None or self._stopped is not None:
            self._warn("step() outside of start() and close() is not recorded")
            return
        measured = self._probes.seconds
        start = time.perf_counter()
        if self._rank == 0:
            self._apart(self._numbers.keep, self._count, loss, scalars)
        # Of several ranks all have to put their measurements together, also one that has none.
        if self._probes.armed is not None or (self._ranks > 1 and self._is_measured):
            self._apart(self._measured, self._count)
            if self._rank == 0 and self._records.is_due():
                self._apart(self.flush)
        self._count += 1
        self._arm()
        self._seconds += time.perf_counter() - start - (self._probes.seconds - measured)

    def close(self, error: BaseException | None = None) -> None:
        """End the measurement and write what is left; a second call does nothing.

        Args:
            error: what ended the training, if it did not end by itself.
        """
        if self._started is None or self._stopped is not None:
            return
        self._stopped = time.perf_counter()
        atexit.unregister(self.close)
        if self._finder is not None:
            self._finder.close()
        if self._ranks == 1:
            self._apart(self._measured, self._count)  # a step that an error cut off
        self._probes.disarm()
        if self._rank > 0:
            return
        self._apart(self._pass_on)
        seconds = self._stopped - self._started
        self._apart(self._records.end, self._count, self.share, seconds, error)
        for sink in self._sinks:
            self._apart(sink.close, self)

    @property
    def share(self) -> float:
        """The part of the time since the start that was spent measuring and recording, 0 ... 1."""
        if self._started is None:
            return 0.0
        end = time.perf_counter() if self._stopped is None else self._stopped
        return (self._seconds + self._probes.seconds) / max(end - self._started, 1e-9)

    @property
    def account(self) -> str:
        """One line: steps, measured steps, alerts, and what measuring has cost."""
        if not self._count:
            return f"{self.folder}: watch.step(loss) was not called, so nothing was measured"
        return (
            f"{self.folder}: {self._count} steps, {self._n_measured} measured, "
            f"{len(self.alerts)} alerts; measuring took {100 * self.share:.1f} % of the time"
        )

    def flush(self) -> None:
        """Write everything measured so far; a figure or page shows it. Rank 0 alone writes."""
        if self._rank > 0:
            return
        self._pass_on()
        self._records.flush()

    def plot(self, path: str | Path | None = None) -> "Figure":
        """The run in one figure, see `gradflow.analysis.watched`; saved too if a path is given.

        Raises:
            GradflowError: nothing has been measured yet.
        """
        from gradflow.analysis.watched import plot_run

        self.flush()
        return plot_run(self.folder, path)

    # One step.

    @property
    def _is_measured(self) -> bool:
        return self._count % self._every == 0

    def _arm(self) -> None:
        if self._is_measured:
            self._probes.arm(self._count, details=self._count % self._details == 0)

    def _adopt(self, scaler: Any) -> None:
        """A GradScaler that was not given takes the optimizer's steps."""
        self._warn(
            "a GradScaler is in use: give it, as scaler=...; this step is not measured, and from "
            "here on gradients are those without its scale"
        )
        self._probes.disarm()
        self._probes.scaler = scaler
        self._alarms = Alarms(scaled=True)

    def _measured(self, step: int) -> None:
        """Rows, alerts and sinks of the measurement that is open, if one is."""
        if self._ranks > 1:
            found = combined(self._probes.take(), self._probes.layers[0].weight.device)
            if found is not None:
                self._probes.add(found)
        tables = self._probes.tables()
        if "layers" not in tables:
            self._check_gradients()
            return
        self._n_measured += 1
        if self._rank > 0:
            return
        for name, rows in tables.items():
            self._records.add(name, rows)
        self._check_updates(tables["layers"])
        loss = self._pass_on()
        lacking = self._siblings.without_sum(tables) if "blocks" in tables else {}
        for alert in self._alarms.see(seen_of(tables, step, loss, lacking)):
            self.alerts.append(alert)
            self._records.alert(alert)
            if self._on_alert is not None:
                self._apart(self._on_alert, alert)
        for sink in self._sinks:
            self._apart(sink.measured, step, tables, loss)

    def _pass_on(self) -> float | None:
        """Copy losses and scalars to the host, all at once; returns the last loss."""
        steps, scalars = self._numbers.on_host()
        self._records.steps(steps)
        self._records.scalars(scalars)
        return steps[-1][1] if steps else None

    def _check_gradients(self) -> None:
        self._without_gradient += self._stopped is None  # the step that closes may not have begun
        if self._without_gradient == PATIENCE and not self._n_measured:
            self._warn("no backward pass of this model is seen: is another one trained?")

    def _check_updates(self, layers: Any) -> None:
        moved = layers["update_norm"].null_count < len(layers)
        finite = bool(np.isfinite(layers["grad_norm"].drop_null().to_numpy()).all())
        self._without_update = 0 if moved or not finite else self._without_update + 1
        if self._without_update == PATIENCE:
            self._warn("no weight has changed when step() is called: call it after the optimizer")

    def _apart(self, work: Callable[..., object], *args: object) -> None:
        """What goes wrong in `work`, of any kind, is a warning: the training comes first."""
        try:
            work(*args)
        except Exception as error:
            self._warn(f"step {self._count}: {type(error).__name__}: {error}")

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            warnings.warn(f"watch: {text}", stacklevel=3)
