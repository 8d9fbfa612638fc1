"""`hydra/launcher=local`: the runs of a sweep side by side on this machine, through Dask."""

import copy
import logging
import os
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from gradflow.config import RunConfig
from gradflow.config.door import to_config
from gradflow.config.schema import GROUPS
from gradflow.errors import GradflowError
from gradflow.progress import Progress, RunResult, StudyBar, reporting_to
from gradflow.stopping import (
    Interrupted,
    ask_to_stop,
    asked_to_stop,
    terminating_as_interrupt,
)

SCALARS = {entry.name for entry in fields(RunConfig)} - {*GROUPS, "evaluation", "study"}
TOPIC = "gradflow-progress"
STOP_SECONDS = 30.0  # for the runs in progress to write their checkpoints
WORKER_ENVIRONMENT = {"OMP_NUM_THREADS": 1, "MKL_NUM_THREADS": 1}


class LocalLauncher(Launcher):
    """One single-thread worker process a core, each reused for run after run.

    Args:
        workers: how many; one a core where None.
        memory_limit: of one worker, such as "2GB". A worker that exceeds it, or is killed,
            is replaced and its run goes on from its checkpoint.
    """

    def __init__(self, workers: int | None, memory_limit: str):
        self.workers = workers or os.cpu_count() or 1
        self.memory_limit = memory_limit
        self._composed: dict[tuple[str, ...], DictConfig] = {}

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        self.hydra_context = hydra_context
        self.task_function = task_function
        self.config = config

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> Sequence[JobReturn]:
        """Run every job; one that fails does not stop the others.

        Raises:
            GradflowError: before any run, if one config is not valid; after all runs, if
                some failed.
        """
        setup_globals()
        configs = [
            self._job_config(overrides, initial_job_idx + index)
            for index, overrides in enumerate(job_overrides)
        ]
        for config in configs:
            to_config(config, RunConfig)
        returns = self._run_on_cluster(configs)
        failed = [job for job in returns if job.status != JobStatus.COMPLETED]
        results = [job.return_value for job in returns if job.status == JobStatus.COMPLETED]
        print(summary(results, len(failed)))
        if failed:
            raise GradflowError(_failures(failed))
        return returns

    def _job_config(self, overrides: Sequence[str], index: int) -> DictConfig:
        """The config of one job. Composing takes 0.2 s, so jobs that differ in values only
        are made from one composed config."""
        parsed = OverridesParser.create(self.hydra_context.config_loader).parse_overrides(
            list(overrides)
        )
        values = [o for o in parsed if o.type == OverrideType.CHANGE and "." in o.key_or_group]
        values += [o for o in parsed if o.key_or_group in SCALARS and o.type == OverrideType.CHANGE]
        # The same groups, and the same keys set: then every value is set again below.
        alike = (
            *(o.input_line or "" for o in parsed if o not in values),
            *(o.key_or_group for o in values),
        )
        if alike not in self._composed:
            self._composed[alike] = self._compose(overrides)
        config = copy.deepcopy(self._composed[alike])
        for override in values:
            OmegaConf.update(config, override.key_or_group, override.value())
        with open_dict(config):
            config.hydra.overrides.task = list(overrides)
            config.hydra.job.id = f"{config.hydra.job.name}_{index}"
            config.hydra.job.num = index
        return config

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        return self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))

    def _run_on_cluster(self, configs: list[DictConfig]) -> list[JobReturn]:
        import dask
        from distributed import Client, LocalCluster, wait

        # An interrupt ends every task of the cluster; the user is told once, not once a task.
        for name in ("distributed", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        dask.config.set(
            {
                "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
                # A run that lost its worker goes on; it does not fail, however often.
                "distributed.scheduler.allowed-failures": 2**31,
            }
        )
        state = Singleton.get_state()
        workers = min(self.workers, len(configs))
        with (
            LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=self.memory_limit,
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
            ) as cluster,
            Client(cluster) as client,
            StudyBar(len(configs)) as bar,
            terminating_as_interrupt(),
        ):
            client.register_plugin(_leave_interrupts_to_the_launcher())
            client.subscribe_topic(TOPIC, lambda event: bar.show(Progress(*event[1])))
            futures = [
                client.submit(
                    _run_in_worker,
                    self.hydra_context,
                    config,
                    self.task_function,
                    state,
                    pure=False,
                )
                for config in configs
            ]
            for future in futures:
                future.add_done_callback(lambda done: bar.end_run())
            try:
                return list(client.gather(futures))
            except KeyboardInterrupt:  # a second one ends it at once
                client.run(ask_to_stop)
                wait(futures, timeout=STOP_SECONDS)
                raise


def summary(results: Sequence[RunResult], failed: int) -> str:
    """How a study's runs ended, in one line; a run that had ended before counts as such."""
    counts = Counter("had ended before" if r.skipped else r.status for r in results)
    counts["failed"] = failed
    parts = [f"{count} {status}" for status, count in counts.items() if count]
    return f"{len(results) + failed} runs: {', '.join(parts)}"


def _failures(failed: Sequence[JobReturn]) -> str:
    """The distinct errors, each with the number of runs it struck and one that shows it."""
    by_text: dict[str, list[JobReturn]] = {}
    for job in failed:
        error = job._return_value
        text = (
            str(error) if isinstance(error, GradflowError) else f"{type(error).__name__}: {error}"
        )
        by_text.setdefault(text, []).append(job)
    told = [
        f"{text} ({len(jobs)} runs, such as {' '.join(jobs[0].overrides or ())})"
        for text, jobs in by_text.items()
    ]
    return f"{'; '.join(told)}. The same command tries the failed runs again."


def _leave_interrupts_to_the_launcher() -> Any:
    """For workers: Ctrl-C reaches every process of the group, but one of them decides."""
    from distributed import WorkerPlugin

    class IgnoreInterrupts(WorkerPlugin):
        def setup(self, worker: Any) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    return IgnoreInterrupts()


def _run_in_worker(
    hydra_context: HydraContext, config: DictConfig, task_function: TaskFunction, state: Any
) -> JobReturn | None:
    """The run's result, or None where it was asked to stop."""
    from distributed import get_worker

    if asked_to_stop():
        return None
    setup_globals()
    Singleton.set_state(state)
    HydraConfig.instance().set_config(config)
    worker = get_worker()
    with reporting_to(lambda progress: worker.log_event(TOPIC, tuple(progress))):
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
