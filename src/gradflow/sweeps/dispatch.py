"""The runs of a sweep on the workers of a cluster: submitted, awaited, submitted again."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from gradflow.core.errors import GradflowError
from gradflow.core.interrupts import Killed, ask_to_stop
from gradflow.core.progress import Progress, StudyBar, print_line
from gradflow.records import ended_runs
from gradflow.runs.planning import PlannedRun
from gradflow.sweeps.deaths import (
    NO_REPORT_SECONDS,
    Death,
    Deaths,
    record_death,
)

TOPIC = "gradflow-progress"
LINES = "gradflow-lines"
STOP_SECONDS = 9.0  # for the runs in progress to write their checkpoints
LOOK_SECONDS = 1.0  # between looks at what has ended and which workers are there
INDEX_SECONDS = 60.0  # between updates of the studies' index
FIRST, LAST = 1, -1  # priorities: of a run that lost its worker; of one that others work on


class Job(NamedTuple):
    """A run as Hydra composes it, and its folder."""

    config: DictConfig
    run: PlannedRun

    @property
    def number(self) -> int:
        """The job's number in the sweep."""
        number: int = self.config.hydra.job.num
        return number


class _Lost(NamedTuple):
    """A job whose worker is gone, until it is known why."""

    job: Job
    worker: str
    since: float


class Dispatch:
    """Runs every job to its end; a job that loses its worker is submitted again.

    Args:
        submit: (config, whether to wait for another process, priority) -> a future of what
            the job returned, or of None if it did not run to its end.
    """

    def __init__(
        self,
        client: Any,
        bar: StudyBar,
        submit: Callable[[DictConfig, bool, int], Any],
    ):
        self._client = client
        self._bar = bar
        self._submit = submit
        self._deaths = Deaths(client)
        self._pending: dict[Any, Job] = {}
        self._lost: list[_Lost] = []
        self._returns: list[JobReturn] = []
        client.subscribe_topic(TOPIC, lambda event: self._show(Progress(*event[1])))
        client.subscribe_topic(LINES, lambda event: print_line(event[1]))

    def run(self, jobs: Iterable[Job], tend: Callable[[], None]) -> list[JobReturn]:
        """What the jobs returned; the index of their studies is kept up to date meanwhile.

        Args:
            tend: called about once a second.
        """
        studies = set()
        for job in jobs:
            self._hand_in(job)
            studies.add(job.run.folder.parent)
        indexed = time.monotonic()
        try:
            while self._pending or self._lost:
                for future in self._ended():
                    self._collect(future)
                self._lost = [lost for lost in self._lost if not self._settle(lost)]
                over = not self._pending and not self._lost
                if time.monotonic() - indexed > INDEX_SECONDS or over:
                    for study in studies:
                        ended_runs(study)
                    indexed = time.monotonic()
                tend()
                workers = self._workers()
                self._deaths.look(workers)
                self._bar.look(workers=len(workers))
        except KeyboardInterrupt:  # a second one ends it at once
            self._stop()
            raise
        return self._returns

    def _workers(self) -> dict[str, Any]:
        workers: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        return workers

    def _hand_in(self, job: Job, *, wait: bool = False, priority: int = 0) -> None:
        self._pending[self._submit(job.config, wait, priority)] = job

    def _ended(self) -> Sequence[Any]:
        from distributed import TimeoutError as NotYet
        from distributed import wait

        if not self._pending:
            time.sleep(LOOK_SECONDS / 10)
            return ()
        try:
            return list(wait(list(self._pending), LOOK_SECONDS, "FIRST_COMPLETED").done)
        except NotYet:
            return ()

    def _collect(self, future: Any) -> None:
        from distributed import KilledWorker

        job = self._pending.pop(future)
        try:
            outcome = future.result()
        except KilledWorker as killed:
            self._lost.append(_Lost(job, killed.last_worker.address, time.monotonic()))
            return
        if outcome is None:
            # Only the waiting for another process is put off, so that no worker is idle.
            self._hand_in(job, wait=True, priority=LAST)
        else:
            self._end(job, outcome)

    def _settle(self, lost: _Lost) -> bool:
        """Submit the job again or end it; False while it is not known why its worker died."""
        if self._deaths.began(lost.worker, lost.job.number):
            death = self._deaths.take(lost.worker)
            if death is not None:
                self._judge(lost.job, death)
                return True
            if time.monotonic() - lost.since < NO_REPORT_SECONDS:
                return False
            self._bar.forget(lost.job.run.name)
        self._hand_in(lost.job, priority=FIRST)
        return True

    def _judge(self, job: Job, death: Death) -> None:
        run = job.run
        self._bar.forget(run.name)
        second = self._deaths.is_second(job.number, run.folder)
        message = f"the worker died twice on this run: {death.reason}"
        first = f"Interrupted: the worker died: {death.reason}"
        recorded = record_death(run.folder, death, f"WorkerDied: {message}" if second else first)
        if not (second and recorded):
            self._bar.note(f"{run.name}: the worker died ({death.reason}); the run is resumed")
            self._hand_in(job, priority=FIRST)
            return
        self._bar.note(f"{run.name}: failed: {message}")
        overrides = list(job.config.hydra.overrides.task)
        failed = JobReturn(overrides=overrides, cfg=job.config, status=JobStatus.FAILED)
        failed.return_value = GradflowError(message)
        self._end(job, failed)

    def _end(self, job: Job, outcome: JobReturn) -> None:
        self._returns.append(outcome)
        self._bar.end_run(failed=outcome.status != JobStatus.COMPLETED)

    def _show(self, progress: Progress) -> None:
        self._deaths.progress()
        self._bar.show(progress)

    def _stop(self) -> None:
        """Have all runs write their checkpoints; a worker that does not answer is not awaited.

        Raises:
            Killed: some did not in time; what ends the cluster kills their workers.
        """
        from distributed import TimeoutError as NotYet
        from distributed import wait

        def ask() -> None:
            with suppress(Exception):  # the cluster is closed and a worker has not answered
                self._client.run(ask_to_stop)

        # Client.run waits for every worker's answer without a limit of time.
        threading.Thread(target=ask, daemon=True).start()
        deadline = time.monotonic() + STOP_SECONDS
        left = list(self._pending)
        while left and self._workers() and time.monotonic() < deadline:
            with suppress(NotYet):
                wait(left, LOOK_SECONDS / 5)
            left = [future for future in left if not future.done()]
        begun = [self._pending[f] for f in left if self._deaths.is_begun(self._pending[f].number)]
        if begun and self._workers():
            names = ", ".join(sorted(job.run.name for job in begun))
            raise Killed(f"not stopped within {STOP_SECONDS:.0f} s and killed: {names}")
