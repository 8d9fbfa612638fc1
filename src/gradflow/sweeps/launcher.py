"""What every launcher of this project does: the runs of a sweep through Dask, none lost.

A launcher differs from another in its cluster only: `local.py`, `slurm.py`.
"""

import logging
import os
import signal
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from gradflow.config.plugins import load_plugins
from gradflow.core.errors import GradflowError
from gradflow.core.interrupts import Interrupted, asked_to_stop, terminating_as_interrupt
from gradflow.core.locks import not_waiting
from gradflow.core.progress import RunResult, StudyBar, reporting_to
from gradflow.runs.planning import PlannedRun
from gradflow.sweeps.deaths import report_begin
from gradflow.sweeps.dispatch import FIRST, LINES, TOPIC, Dispatch, Job
from gradflow.sweeps.fitting import alike, peaks, shortage
from gradflow.sweeps.job_configs import JobComposer
from gradflow.sweeps.options import dashboard_address, truth
from gradflow.sweeps.summary import failures, summary
from gradflow.sweeps.unread import read_jobs


class DaskLauncher(Launcher):
    """Runs every job of a sweep once on the workers of a cluster.

    A run that has ended is not sent there. One whose worker died resumes from its checkpoint
    on another worker; if it dies again without a newer checkpoint, the run is failed. One that
    fails does not stop the others.

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

    @property
    @abstractmethod
    def memory(self) -> int:
        """Bytes that a worker may use."""

    @abstractmethod
    def cluster(self, workers: int) -> AbstractContextManager[Any]:
        """A Dask cluster for this number of workers, with none yet."""

    @abstractmethod
    def start(self, cluster: Any, workers: int) -> None:
        """Ask for the workers, to which all plugins are known from their start."""

    def check_values(self) -> None:
        """Raise a GradflowError where an option has a value of another type or range."""
        _ = self.workers
        truth("dashboard", self.dashboard)

    def check(self) -> None:
        """Raise a GradflowError where there can be no cluster, before anything is written."""
        dashboard_address(self.dashboard)
        _ = self.memory

    def tend(self, cluster: Any, workers: int) -> None:
        """Called about once a second: a cluster that does not replace its dead does so here."""
        return

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Keep what the jobs are composed from and run with."""
        self.check_values()
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
        workers = self.workers
        job_overrides, configs = read_jobs(self.composer, job_overrides)
        self._plugins = list(dict.fromkeys(name for c in configs for name in c.plugins))
        if any(config.dtype == "auto" for config in configs):
            from gradflow.runs.precision import resolved  # imports torch

            configs = [resolved(config) for config in configs]
        # seed=0,00 and dtype=float32,auto may name a run twice.
        first = {config: index for index, config in reversed(list(enumerate(configs)))}
        job_overrides = [job_overrides[index] for index in sorted(first.values())]
        if any(config.network.TRIED for config in first):
            from gradflow.runs.trial import try_networks  # imports torch

            try_networks(first)
        planned = plan_study(configs[index] for index in sorted(first.values()))
        wanted = [index for index, run in enumerate(planned) if run.is_wanted]
        distinct = alike([planned[index] for index in wanted])
        if wanted:
            self.check()
        if planned and planned[0].config.dry_run:
            from gradflow.runs.forecast import forecast  # imports torch too

            print(forecast(planned, workers))
            if distinct and (line := shortage(distinct, peaks(distinct), self.memory)):
                print(line)
            return []
        for index in wanted:
            announce(planned[index])
        # A job is composed when it is handed in, so that the first runs do not wait for the last.
        jobs = (
            Job(
                self._config(
                    job_overrides[index], initial_job_idx + index, planned[index].config.dtype
                ),
                planned[index],
            )
            for index in wanted
        )
        returns = self._run_on_cluster(jobs, len(wanted), distinct) if wanted else []
        failed = [job for job in returns if job.status != JobStatus.COMPLETED]
        results = [job.return_value for job in returns if job.status == JobStatus.COMPLETED]
        results += [
            RunResult(run.folder, run.state, True, None) for run in planned if not run.is_wanted
        ]
        print(summary(results, len(failed)))
        if failed:
            raise GradflowError(failures(failed))
        return returns

    def _config(self, overrides: Sequence[str], index: int, dtype: str) -> DictConfig:
        config = self.composer.compose(overrides, index)
        config.dtype = dtype  # where it was auto, it is decided
        config.only = "unfinished"  # it was chosen; begun and interrupted, it goes on
        return config

    def _run_on_cluster(
        self, jobs: Iterator[Job], count: int, distinct: Sequence[PlannedRun]
    ) -> list[JobReturn]:
        import dask
        from distributed import Client

        # An interrupt ends every task of the cluster; the user reads one line, not one per task.
        for name in ("distributed", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        dask.config.set(
            {
                # A lost worker is reported at once, and `Dispatch` decides about its run.
                "distributed.scheduler.allowed-failures": 0,
                # Workers keep freed memory for the next step; Dask would pause them for that.
                "distributed.worker.memory.pause": False,
                # Dask samples a worker's stack every 10 ms: 8 % of a run, 3 s of its start.
                "distributed.worker.profile.enabled": self.dashboard,
            }
        )
        state = Singleton.get_state()
        workers = min(self.workers, count)
        with (
            terminating_as_interrupt(),
            self.cluster(workers) as cluster,
            Client(cluster) as client,
            StudyBar(count) as bar,
        ):
            client.register_plugin(_preparation(self.gpus, self._plugins))

            def submit(config: DictConfig, wait: bool, priority: int) -> Any:
                return client.submit(
                    _run_in_worker,
                    self.hydra_context,
                    config,
                    self.task_function,
                    state,
                    wait,
                    pure=False,
                    priority=priority,
                )

            dispatch = Dispatch(client, bar, submit)
            self.start(cluster, workers)
            # A worker has imported torch; here that would take two seconds.
            found = client.submit(peaks, distinct, pure=False, priority=FIRST)
            found.add_done_callback(partial(_warn, bar, distinct, self.memory))
            return dispatch.run(jobs, lambda: self.tend(cluster, workers))


def _warn(bar: StudyBar, distinct: Sequence[PlannedRun], memory: int, found: Any) -> None:
    """Warn of runs that will not fit; an estimate that failed warns of nothing."""
    if found.status == "finished" and (line := shortage(distinct, found.result(), memory)):
        bar.note(line)


def _preparation(gpus: int, plugins: Sequence[str]) -> Any:
    """What each worker does first.

    It imports the plugins of the user's, whose classes are in the configs that it is sent.

    Ctrl-C and a closed terminal reach every process of the group, but one of them decides: the
    launcher. A worker sees one GPU, before anything of CUDA is loaded.
    """
    from distributed import WorkerPlugin

    class Prepare(WorkerPlugin):
        def setup(self, worker: Any) -> None:
            for number in (signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            if gpus:
                os.environ["CUDA_VISIBLE_DEVICES"] = str(int(worker.name) % gpus)
            load_plugins(plugins)

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
    from gradflow.training.torch_settings import give_back_freed_memory

    give_back_freed_memory()  # of the run before, which took other sizes
    report_begin(worker, config.hydra.job.num, config.device)
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
