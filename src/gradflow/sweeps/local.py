"""`hydra/launcher=local`: the runs of a sweep side by side on this machine."""

import logging
import multiprocessing
import os
from contextlib import AbstractContextManager
from multiprocessing import forkserver
from typing import Any

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

    def cluster(self, workers: int) -> AbstractContextManager[Any]:
        """A cluster on this machine, without workers yet."""
        _start_mould()
        import dask
        from distributed import LocalCluster

        dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
        cluster = LocalCluster(
            n_workers=0,  # so that one which dies while it starts is replaced, like any other
            threads_per_worker=1,
            memory_limit=self.memory,
            dashboard_address=dashboard_address(self.dashboard),
            silence_logs=logging.CRITICAL,
        )
        if self.dashboard:
            print(f"dashboard: {cluster.dashboard_link}")
        return cluster

    def start(self, cluster: Any, workers: int) -> None:
        """Start the workers."""
        cluster.scale(workers)

    def tend(self, cluster: Any, workers: int) -> None:
        """Replace workers that died while they started."""
        # A worker's keeper starts it again when it dies, and gives up when it dies starting.
        from distributed.core import Status

        def bury() -> None:
            for name, keeper in list(cluster.workers.items()):
                if keeper.status in (Status.closed, Status.failed):
                    del cluster.workers[name]
            cluster.scale(workers)

        cluster.loop.add_callback(bury)


def _start_mould() -> None:
    """Begin the process that workers are forked from: it imports torch and all else once.

    It does so while this process makes the cluster; a worker, or one in the place of a dead
    one, is then there at once, and shares the memory of what was imported.
    """
    multiprocessing.set_forkserver_preload(PRELOADED)
    before = dict(os.environ)
    os.environ.update(WORKER_ENVIRONMENT)
    try:
        forkserver.ensure_running()
    finally:
        os.environ.clear()
        os.environ.update(before)
