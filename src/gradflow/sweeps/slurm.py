"""`hydra/launcher=slurm`: the runs of a sweep on the nodes of a cluster."""

import importlib.util
import logging
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psutil import net_if_addrs

from gradflow.core.errors import GradflowError
from gradflow.sweeps.launcher import DaskLauncher
from gradflow.sweeps.options import dashboard_address, size, text, texts, whole

ENVIRONMENT = [
    "export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1",  # a run sets its own threads
    "export DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE=False",  # as in launcher.py
]
WORKER_ARGUMENTS = ["--no-dashboard", "--worker-class", "gradflow.sweeps.closed.ClosedWorker"]


class SlurmLauncher(DaskLauncher):
    """One SLURM job a worker, as many as there is work for, each reused for run after run.

    A job that is cancelled, preempted or reaches its time limit is replaced by another; the
    run that it worked on goes on from its checkpoint, at most `checkpoint_seconds` back, and
    is not blamed for it.
    The jobs must see this checkout, its Python and `output_root` under the same paths.

    Args:
        jobs: at a time, at most.
        queue, account, walltime, memory, cores: of each job.
        interface: the network by which jobs and this process reach each other.
        directives: further #SBATCH lines; `skip_directives` leaves some out.
        prologue: shell lines before the worker starts.
        logs: the folder of the jobs' output.
        dashboard: serve Dask's own dashboard and say where.
    """

    def __init__(
        self,
        jobs: int,
        queue: str | None,
        account: str | None,
        walltime: str,
        memory: str,
        cores: int,
        interface: str | None,
        directives: Sequence[str],
        skip_directives: Sequence[str],
        prologue: Sequence[str],
        logs: str,
        dashboard: bool,
    ):
        self._jobs = jobs
        self._memory = memory
        self._cores = cores
        self.dashboard = dashboard
        self.logs = Path(text("logs", logs) or "")
        self.options: dict[str, Any] = {
            "queue": text("queue", queue),
            "account": text("account", account),
            "walltime": text("walltime", walltime),
            "memory": memory,
            "job_cpu": cores,
            "interface": text("interface", interface),
            "job_extra_directives": texts("directives", directives),
            "job_directives_skip": texts("skip_directives", skip_directives),
            "job_script_prologue": [*ENVIRONMENT, *texts("prologue", prologue)],
        }

    @property
    def workers(self) -> int:
        """Slurm jobs at once, at most."""
        return whole("jobs", self._jobs, 1)

    @property
    def memory(self) -> int:
        """Bytes that a job may use."""
        return size("memory", self._memory)

    def check_values(self) -> None:
        """As the base class; and the memory of a job."""
        super().check_values()
        _ = self.memory
        whole("cores", self._cores, 1)

    def check(self) -> None:
        """Also raise it if dask-jobqueue or sbatch is missing."""
        super().check()
        if importlib.util.find_spec("dask_jobqueue") is None:
            raise GradflowError(
                "hydra/launcher=slurm: needs dask-jobqueue: pip install 'gradflow-suite[slurm]'"
            )
        if shutil.which("sbatch") is None:
            raise GradflowError(
                "hydra/launcher=slurm: there is no sbatch here; start the study where jobs "
                "are submitted, or use hydra/launcher=local"
            )
        interface, known = self.options["interface"], sorted(net_if_addrs())
        if interface is not None and interface not in known:
            raise GradflowError(
                f"hydra.launcher.interface={interface}: no such network here; choose one of "
                f"{', '.join(known)}"
            )

    @contextmanager
    def cluster(self, workers: int) -> Iterator[Any]:
        """A cluster whose workers are Slurm jobs, without workers yet."""
        from distributed.utils import get_ip

        from gradflow.sweeps.closed import scheduler_class, scheduler_options
        from gradflow.sweeps.credentials import credentials

        handler = signal.getsignal(signal.SIGINT)
        import dask_jobqueue  # noqa: F401  which has Ctrl-C end the process with status 0

        signal.signal(signal.SIGINT, handler)
        from gradflow.sweeps.slurm_jobs import SlurmJobs, jobs_cluster

        self.logs.mkdir(parents=True, exist_ok=True)
        dashboard = dashboard_address(self.dashboard)
        bound = {} if self.options["interface"] else {"host": get_ip()}  # else: of any network
        self._jobs_seen = SlurmJobs(self.logs)
        with (
            credentials(self.logs) as security,
            jobs_cluster(
                self._jobs_seen,
                cores=1,  # threads of the worker: one run at a time
                processes=1,
                protocol="tls://",
                security=security,
                scheduler_cls=scheduler_class(dashboard),
                scheduler_options={**bound, **scheduler_options(dashboard)},
                worker_command="gradflow.sweeps.job_worker",
                worker_extra_args=WORKER_ARGUMENTS,
                silence_logs=logging.CRITICAL,
                log_directory=str(self.logs),
                **self.options,
            ) as cluster,
        ):
            if self.dashboard:
                print(f"dashboard: {cluster.dashboard_link}")
            yield cluster

    def tend(self, cluster: Any, workers: int) -> None:
        """Raise what sbatch refused, and what ended a job at once."""
        self._jobs_seen.look(cluster)

    def start(self, cluster: Any, workers: int) -> None:
        """Submit jobs while runs wait for a worker."""
        cluster.adapt(minimum=0, maximum=workers)
