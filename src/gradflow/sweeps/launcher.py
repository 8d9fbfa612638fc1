"""What every launcher of this project does: the runs of a sweep through Dask, none lost.

A launcher differs from another in its cluster only: `local.py`, `slurm.py`.
"""

import logging
import os
import signal
import time
from abc import abstractmethod
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from gradflow.core.errors import GradflowError
from gradflow.core.interrupts import (
    Interrupted,
    ask_to_stop,
    asked_to_stop,
    terminating_as_interrupt,
)
from gradflow.core.locks import not_waiting
from gradflow.core.progress import Progress, RunResult, StudyBar, print_line, reporting_to
from gradflow.records import ended_runs
from gradflow.sweeps.job_configs import JobComposer
from gradflow.sweeps.summary import failures, summary

TOPIC = "gradflow-progress"
LINES = "gradflow-lines"
STOP_SECONDS = 30.0  # for the runs in progress to write their checkpoints
LOOK_SECONDS = 1.0  # between looks at what has ended and which workers are there
INDEX_SECONDS = 60.0  # between updates of the studies' index
LAST = -1  # priority of a run that another process works on: after all others


class DaskLauncher(Launcher):
    """Runs every job of a sweep once on the workers of a cluster.

    A run that has ended is not sent there; one whose worker died is given to another
    worker and goes on from its checkpoint; one that fails does not stop the others.

    Attributes:
        gpus: the worker numbered i sees the GPU i mod `gpus` alone; 0: no matter.
        dashboard: whether Dask's own is served.
    """

    gpus = 0
    dashboard = False

    @property
    @abstractmethod
    def workers(self) -> int:
        """How many runs there may be at a time."""

    @abstractmethod
    def cluster(self, workers: int) -> AbstractContextManager[Any]:
        """A Dask cluster that is to have so many workers."""

    def check(self) -> None:
        """Raise a GradflowError where there can be no cluster, before anything is written."""
        dashboard_address(self.dashboard)

    def tend(self, cluster: Any, workers: int) -> None:
        """Called about once a second: a cluster that does not replace its dead does so here."""
        return

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config
        self.composer = JobComposer(hydra_context, config)

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run every job that is to be done; what the jobs returned.

        Raises:
            GradflowError: before any run, if one config is not valid; after all runs, if
                some failed.
        """
        from gradflow.runs.planning import announce, plan_study

        setup_globals()
        configs = [self.composer.typed(overrides) for overrides in job_overrides]
        if any(config.dtype == "auto" for config in configs):
            from gradflow.runs.precision import resolved  # imports torch

            configs = [resolved(config) for config in configs]
        planned = plan_study(configs)
        if planned and planned[0].config.dry_run:
            from gradflow.runs.forecast import forecast  # imports torch too

            print(forecast(planned, self.workers))
            return []
        wanted = [index for index, run in enumerate(planned) if run.is_wanted]
        if wanted:
            self.check()
        for index in wanted:
            announce(planned[index])
        studies = {planned[index].folder.parent for index in wanted}
        # A job is composed when it is handed in, so that the first runs do not wait for the last.
        jobs = (
            self._job(job_overrides[index], initial_job_idx + index, planned[index].config.dtype)
            for index in wanted
        )
        returns = self._run_on_cluster(jobs, len(wanted), studies) if wanted else []
        failed = [job for job in returns if job.status != JobStatus.COMPLETED]
        results = [job.return_value for job in returns if job.status == JobStatus.COMPLETED]
        results += [
            RunResult(run.folder, run.state, True, None) for run in planned if not run.is_wanted
        ]
        print(summary(results, len(failed)))
        if failed:
            raise GradflowError(failures(failed))
        return returns

    def _job(self, overrides: Sequence[str], index: int, dtype: str) -> DictConfig:
        config = self.composer.compose(overrides, index)
        config.dtype = dtype  # where it was auto, it is decided
        config.only = "unfinished"  # it was chosen; begun and interrupted, it goes on
        return config

    def _run_on_cluster(
        self, jobs: Iterator[DictConfig], count: int, studies: Collection[Path]
    ) -> list[JobReturn]:
        """What the jobs returned; the index of their studies is kept up to date meanwhile."""
        import dask
        from distributed import Client, wait
        from distributed import TimeoutError as NotYet

        # An interrupt ends every task of the cluster; the user is told once, not once a task.
        for name in ("distributed", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        dask.config.set(
            {
                # A run that lost its worker goes on; it does not fail, however often.
                "distributed.scheduler.allowed-failures": 2**31,
                # Dask samples a worker's stack every 10 ms: 8 % of a run, 3 s of its start.
                "distributed.worker.profile.enabled": self.dashboard,
            }
        )
        state = Singleton.get_state()
        workers = min(self.workers, count)
        with (
            self.cluster(workers) as cluster,
            Client(cluster) as client,
            StudyBar(count) as bar,
            terminating_as_interrupt(),
        ):
            client.register_plugin(_preparation(self.gpus))
            client.subscribe_topic(TOPIC, lambda event: bar.show(Progress(*event[1])))
            client.subscribe_topic(LINES, lambda event: print_line(event[1]))

            def submit(config: DictConfig, *, wait: bool) -> Any:
                # Only the waiting for another process is put off, so that no worker is idle.
                return client.submit(
                    _run_in_worker,
                    self.hydra_context,
                    config,
                    self.task_function,
                    state,
                    wait,
                    pure=False,
                    priority=LAST if wait else 0,
                )

            pending = {submit(job, wait=False): job for job in jobs}
            returns: list[JobReturn] = []
            indexed = time.monotonic()
            try:
                while pending:
                    try:
                        ended = wait(list(pending), LOOK_SECONDS, "FIRST_COMPLETED").done
                    except NotYet:
                        ended = set()
                    for future in ended:
                        job, outcome = pending.pop(future), future.result()
                        if outcome is None:
                            pending[submit(job, wait=True)] = job
                        else:
                            returns.append(outcome)
                            bar.end_run(failed=outcome.status != JobStatus.COMPLETED)
                    if time.monotonic() - indexed > INDEX_SECONDS or not pending:
                        for study in studies:
                            ended_runs(study)
                        indexed = time.monotonic()
                    self.tend(cluster, workers)
                    bar.look(workers=len(client.scheduler_info(n_workers=-1)["workers"]))
            except KeyboardInterrupt:  # a second one ends it at once
                client.run(ask_to_stop)
                wait(list(pending), timeout=STOP_SECONDS)
                raise
            return returns


def dashboard_address(wanted: bool) -> str:
    """Where a scheduler serves its dashboard: at Dask's usual port, or at any free one.

    Raises:
        GradflowError: it is wanted and cannot be drawn.
    """
    if not wanted:
        return "127.0.0.1:0"
    try:
        import bokeh  # noqa: F401
    except ImportError as error:
        raise GradflowError(
            "hydra.launcher.dashboard=true: needs bokeh: pip install -e '.[dashboard]'"
        ) from error
    return "127.0.0.1:8787"


def _preparation(gpus: int) -> Any:
    """What each worker does first.

    Ctrl-C reaches every process of the group, but one of them decides: the launcher. A
    worker sees one GPU, before anything of CUDA is loaded.
    """
    from distributed import WorkerPlugin

    class Prepare(WorkerPlugin):
        def setup(self, worker: Any) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            if gpus:
                os.environ["CUDA_VISIBLE_DEVICES"] = str(int(worker.name) % gpus)

    return Prepare()


def _run_in_worker(
    hydra_context: HydraContext,
    config: DictConfig,
    task_function: TaskFunction,
    state: Any,
    wait: bool,
) -> JobReturn | None:
    """The run's result, or None where it was asked to stop or another process works on it."""
    from distributed import get_worker

    if asked_to_stop():
        return None
    setup_globals()
    Singleton.set_state(state)
    HydraConfig.instance().set_config(config)
    worker = get_worker()
    with (
        reporting_to(
            lambda progress: worker.log_event(TOPIC, tuple(progress)),
            lambda line: worker.log_event(LINES, line),
        ),
        nullcontext() if wait else not_waiting(),
    ):
        try:
            return run_job(
                hydra_context=hydra_context,
                config=config,
                task_function=task_function,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
        except Interrupted:
            return None
