"""Workers that died: during which run, why, and whether that run is tried again."""

import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from filelock import Timeout

from gradflow.core.errors import GradflowError
from gradflow.core.locks import lock_of
from gradflow.records import RecordWriter, has_ended
from gradflow.records.set_aside import CHECKPOINT

BEGUN = "gradflow-begun"  # topics of Dask's events
DIED = "gradflow-died"
OVER_LIMIT = "worker-restart-memory"  # Dask's own, before it ends a worker
REPORT_SECONDS = 0.5  # after a death; a nanny that is gone by then was ended with its worker
NO_REPORT_SECONDS = 30.0  # after which the whole node counts as lost
IDLE_DEATHS = 5  # in a row, before any run begins, that end a study


class Death(NamedTuple):
    """Facts of the attempt at a run that ended with its worker, and why it did."""

    attempt: dict[str, Any]
    reason: str


class Deaths:
    """What workers and their nannies report, by the worker's address.

    A worker reports each run that it begins. Its nanny, the process that restarts it, reports
    its exit code. A nanny that was ended too, as at the end of a SLURM job, reports nothing.
    """

    def __init__(self, client: Any):
        self._begun: dict[str, dict[str, Any]] = {}
        self._died: dict[str, dict[str, Any]] = {}
        self._over_limit: dict[str, int] = {}
        self._last_seen: dict[str, int] = {}
        self._progress: dict[int, object] = {}
        self._idle: list[str] = []
        client.subscribe_topic(BEGUN, lambda event: self._begin(event[1]))
        client.subscribe_topic(OVER_LIMIT, lambda event: self._exceed(event[1]))
        client.subscribe_topic(DIED, lambda event: self._die(event[1]))
        client.register_plugin(_nanny_report())

    def look(self, workers: dict[str, Any]) -> None:
        """Note the memory of each worker, from `Client.scheduler_info`.

        Raises:
            GradflowError: workers die one after the other and none begins a run.
        """
        for address, worker in workers.items():
            self._last_seen[address] = worker["metrics"].get("memory", 0)
        if len(self._idle) >= IDLE_DEATHS:
            raise GradflowError(f"workers die before they begin a run: {self._idle[-1]}")

    def progress(self) -> None:
        """Some run goes on."""
        self._idle.clear()

    def began(self, address: str, job: int) -> bool:
        """Whether the worker was at this job; others only waited there."""
        return self._begun.get(address, {}).get("job") == job

    def is_begun(self, job: int) -> bool:
        """Whether a worker has begun this job."""
        return any(attempt["job"] == job for attempt in self._begun.values())

    def take(self, address: str) -> Death | None:
        """The death of a worker during a run, as soon as its nanny has reported it."""
        died = self._died.pop(address, None)
        return None if died is None else Death(self._begun.pop(address), self._reason(died))

    def is_second(self, job: int, folder: Path) -> bool:
        """Whether the job's run has made no progress since its worker last died.

        Progress is a newer checkpoint: without one the run begins at the same step again.
        """
        checkpoint = folder / CHECKPOINT
        reached = checkpoint.stat().st_mtime_ns if checkpoint.exists() else has_ended(folder)
        known = job in self._progress and self._progress[job] == reached
        self._progress[job] = reached
        return known

    def _begin(self, attempt: dict[str, Any]) -> None:
        self._begun[attempt.pop("worker")] = attempt
        self.progress()

    def _exceed(self, event: dict[str, Any]) -> None:
        self._over_limit[event["worker"]] = event["rss"]

    def _die(self, event: dict[str, Any]) -> None:
        self._died[event["worker"]] = event
        self._idle.append(self._reason(event))

    def _reason(self, died: dict[str, Any]) -> str:
        address, code = died["worker"], died["exit_code"]
        if address in self._over_limit:
            used, limit = self._over_limit[address], died["limit"]
            return f"memory {gigabytes(used)} used of a limit of {gigabytes(limit)}"
        if code >= 0:
            return f"exit status {code}"
        try:
            name = f" ({signal.Signals(-code).name})"
        except ValueError:
            name = ""
        seen = self._last_seen.get(address)
        used_last = f", memory {gigabytes(seen)} when last seen" if seen else ""
        return f"signal {-code}{name}{used_last}"


def gigabytes(size: float) -> str:
    """Such as 2.05 GB."""
    return f"{size / 1e9:.2f} GB"


def record_death(folder: Path, death: Death, error: str) -> bool:
    """Add the attempt that ended with its worker to the run's records.

    False if another process works on the run, whose records are then its own.
    """
    attempt = dict(death.attempt)
    del attempt["job"]
    started = datetime.fromtimestamp(attempt.pop("started"), UTC)
    ended = datetime.now(UTC)
    try:
        with (
            lock_of(folder).acquire(timeout=1.0),
            RecordWriter(folder, folder.name) as writer,
        ):
            writer.add(
                "attempts",
                **attempt,
                started=started,
                ended=ended,
                wall_seconds=(ended - started).total_seconds(),
                recording_share=None,
                resumed_from=None,
                error=error,
                traceback=None,
            )
    except Timeout:
        return False
    return True


def report_begin(worker: Any, job: int, device: str) -> None:
    """Tell the launcher, before it begins, that this worker begins a run.

    It waits for the scheduler, as a crash in the next moment would lose a message on its way.
    """
    from distributed.utils import sync

    from gradflow.training.origin import circumstances

    attempt = {"worker": worker.address, "job": job, "started": time.time()}
    sync(
        worker.loop,
        worker.scheduler.log_event,
        topic=BEGUN,
        msg={**attempt, **circumstances(device)},
    )


def _nanny_report() -> Any:
    """Has each nanny report the exit code of its worker."""
    from distributed import NannyPlugin
    from distributed.core import Status

    class Report(NannyPlugin):
        name = "gradflow-deaths"

        def setup(self, nanny: Any) -> None:
            restart = nanny._on_worker_exit_sync  # Dask has no public hook for this

            def tell(event: dict[str, Any]) -> None:
                if nanny.status in (Status.init, Status.starting, Status.running):
                    nanny.log_event(DIED, event)

            def exited(exit_code: int) -> None:
                limit = nanny.memory_manager.memory_limit
                event = {"worker": nanny.worker_address, "exit_code": exit_code, "limit": limit}
                if event["worker"]:
                    nanny.loop.call_later(REPORT_SECONDS, tell, event)
                restart(exit_code)

            nanny._on_worker_exit_sync = exited

    return Report()
