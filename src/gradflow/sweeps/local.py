"""`hydra/launcher=local`: the runs of a sweep side by side on this machine."""

import logging
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from typing import Any

from gradflow.core.interrupts import Killed
from gradflow.sweeps.launcher import DaskLauncher
from gradflow.sweeps.options import dashboard_address, size, whole

WORKER_ENVIRONMENT = dict.fromkeys(
    ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"
)
PRELOADED = ["distributed", "gradflow.runs.execute", "hydra.core.utils"]


class LocalLauncher(DaskLauncher):
    """One single-thread worker process a core, each reused for run after run.

    Args:
        workers: how many; None: one per core, or one per GPU if there are `gpus`.
        memory_limit: of one worker, such as "2GB"; None: an equal share of what this machine
            or its cgroup has. A worker that reaches 95 % of it is killed and replaced.
        gpus: worker i sees the GPU i mod `gpus` and no other; with more workers than GPUs
            several runs share one.
        dashboard: serve Dask's own dashboard and say where.
    """

    def __init__(
        self,
        workers: int | None,
        memory_limit: str | float | None,
        gpus: int,
        dashboard: bool,
    ):
        self._workers = workers
        self._memory_limit = memory_limit
        self.gpus = gpus
        self.dashboard = dashboard

    @property
    def workers(self) -> int:
        """Processes that run side by side."""
        gpus = whole("gpus", self.gpus, 0)
        if self._workers is None:
            return gpus or os.cpu_count() or 1
        return whole("workers", self._workers, 1)

    @property
    def memory(self) -> int:
        """Bytes that a worker may use."""
        from distributed.system import MEMORY_LIMIT  # of the machine or this process's cgroup

        if self._memory_limit is None:
            return int(MEMORY_LIMIT) // self.workers
        return min(size("memory_limit", self._memory_limit), int(MEMORY_LIMIT))

    def check_values(self) -> None:
        """As the base class; and the memory limit."""
        super().check_values()
        if self._memory_limit is not None:
            size("memory_limit", self._memory_limit)

    @contextmanager
    def cluster(self, workers: int) -> Iterator[Any]:
        """A cluster on this machine, without workers yet."""
        _start_forkserver()
        import dask
        from distributed import Nanny, SpecCluster

        from gradflow.sweeps.closed import ClosedWorker, scheduler_class, scheduler_options
        from gradflow.sweeps.credentials import credentials

        dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
        dashboard = dashboard_address(self.dashboard)
        with credentials() as security:
            own = {"host": "127.0.0.1", "protocol": "tls://", "security": security}
            worker = {
                **own,
                "worker_class": ClosedWorker,
                "dashboard": False,
                "nthreads": 1,
                "memory_limit": self.memory,
                "silence_logs": logging.CRITICAL,
            }
            with SpecCluster(
                scheduler={
                    "cls": scheduler_class(dashboard),
                    "options": {**own, "port": 0, **scheduler_options(dashboard)},
                },
                worker={"cls": Nanny, "options": worker},  # none yet: `start` scales it
                security=security,
                silence_logs=logging.CRITICAL,
            ) as cluster:
                if self.dashboard:
                    print(f"dashboard: {cluster.dashboard_link}")
                try:
                    yield cluster
                except Killed:
                    for keeper in list(cluster.workers.values()):
                        _kill(keeper)
                    raise

    def start(self, cluster: Any, workers: int) -> None:
        """Start the workers."""
        cluster.scale(workers)

    def tend(self, cluster: Any, workers: int) -> None:
        """Replace workers that died while they started."""
        # A worker's keeper starts it again when it dies, and gives up when it dies starting.
        from distributed.core import Status

        def replace() -> None:
            for name, keeper in list(cluster.workers.items()):
                if keeper.status in (Status.closed, Status.failed):
                    del cluster.workers[name]
            cluster.scale(workers)

        cluster.loop.add_callback(replace)


def _kill(keeper: Any) -> None:
    """End a worker that does not answer, which its keeper would ask for seconds."""
    keeper.auto_restart = False
    if keeper.pid is not None:
        with suppress(ProcessLookupError):
            os.kill(keeper.pid, signal.SIGKILL)


def _start_forkserver() -> None:
    """Begin the process that workers are forked from: it imports torch and all else once.

    It does so while this process makes the cluster; a worker, or one in the place of a dead
    one, is then there at once, and shares the memory of what was imported.

    Ctrl-C and a closed terminal reach all processes of the group. They stay blocked in it and
    in the workers, from their first moment: the launcher asks the runs to stop.
    """
    multiprocessing.set_forkserver_preload(PRELOADED)
    before = dict(os.environ)
    os.environ.update(WORKER_ENVIRONMENT)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP,))
    try:
        resource_tracker.ensure_running()  # it ignores SIGINT, and unblocks it here
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        os.environ.clear()
        os.environ.update(before)
