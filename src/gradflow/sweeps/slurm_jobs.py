"""The jobs of a study on SLURM: refused, gone before they did anything, cancelled at the end."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dask_jobqueue.slurm import SLURMCluster, SLURMJob
from distributed.core import Status

from gradflow.core.errors import GradflowError
from gradflow.core.interrupts import undone_at_the_limit

ASK_SECONDS = 3.0  # between questions to SLURM, while a job has no worker yet
RETRY_SECONDS = 60.0  # before a refused job is submitted again, while others work
FAILURES = 5  # of jobs in a row before any worker begins, that end a study
ENDED = ("FAILED", "BOOT_FAIL", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE", "COMPLETED")
GONE = ("CANCELLED", "PREEMPTED", "TIMEOUT")  # nobody's fault: replaced


class SlurmJobs:
    """What became of each job that was submitted, until its worker is there.

    Args:
        logs: the folder of the jobs' output.
    """

    def __init__(self, logs: Path):
        self._logs = logs
        self._refusals: list[str] = []
        self._failures = 0
        self._asked = self._refused = time.monotonic()
        self.numbers: list[str] = []

    def submitted(self, number: str) -> None:
        """Note the number of a job that sbatch has accepted."""
        self.numbers.append(number)

    def refuse(self, words: str) -> None:
        """Take note of sbatch's refusal."""
        self._refusals.append(words)
        self._refused = time.monotonic()

    def look(self, cluster: Any) -> None:
        """Have jobs replaced that ended without a worker.

        Raises:
            GradflowError: no job is accepted or none starts a worker.
        """
        working = {worker["name"] for worker in cluster.scheduler_info["workers"].values()}
        if working:
            self._failures = 0
        if self._refusals and not working:
            raise GradflowError(f"hydra/launcher=slurm: {self._refusals[-1]}")
        if self._refusals and time.monotonic() - self._refused > RETRY_SECONDS:
            self._refusals.clear()
            _forget(cluster, [n for n, job in cluster.workers.items() if not _number(job)])
        if time.monotonic() - self._asked > ASK_SECONDS:
            self._asked = time.monotonic()
            self._ask({n: j for n, j in list(cluster.workers.items()) if n not in working}, cluster)

    def cancel(self) -> None:
        """Have SLURM end all jobs, those that have ended included."""
        if self.numbers:
            subprocess.run(["scancel", *self.numbers], capture_output=True, timeout=5)

    def _ask(self, waiting: dict[str, Any], cluster: Any) -> None:
        names = {number: name for name, job in waiting.items() if (number := _number(job))}
        if not names:
            return
        states = _states(list(names))
        failed = [number for number, state in states.items() if state in ENDED]
        self._failures += len(failed)
        over = not cluster.scheduler_info["workers"] and len(failed) == len(cluster.workers)
        if failed and (over or self._failures >= FAILURES):
            state = states[failed[-1]]
            raise GradflowError(
                f"hydra/launcher=slurm: job {failed[-1]} ended ({state}) before its worker "
                f"began: {self._last_words(failed[-1])}"
            )
        _forget(cluster, [names[n] for n, state in states.items() if state in ENDED + GONE])

    def _last_words(self, number: str) -> str:
        """The last line of the job's output, and the file."""
        for path in sorted(self._logs.glob(f"*-{number}.*")):
            lines = [line.strip() for line in path.read_text(errors="replace").splitlines()]
            if any(lines):
                return f"{next(line for line in lines[::-1] if line)} ({path})"
        return f"it printed nothing; see scontrol show job {number}"


@contextmanager
def jobs_cluster(jobs: SlurmJobs, **options: Any) -> Iterator[Any]:
    """A SLURMCluster that reports its jobs to `jobs`."""

    class Job(SLURMJob):
        async def _submit_job(self, script: str) -> Any:
            plain: Any = super()
            try:
                answer = await plain._submit_job(script)
            except RuntimeError as error:
                self.status = Status.failed  # dask_jobqueue leaves it as it was
                jobs.refuse(_words(str(error)))
                raise
            jobs.submitted(plain._job_id_from_submit_output(answer))
            return answer

        async def close(self) -> None:
            plain: Any = super()
            await plain.close()
            self.status = Status.closed

    class Cluster(SLURMCluster):
        job_cls = Job

    with undone_at_the_limit(jobs.cancel), Cluster(**options) as cluster:
        yield cluster


def _number(job: Any) -> str | None:
    number: str | None = getattr(job, "job_id", None)
    return number


def _words(error: str) -> str:
    """What sbatch said, from what dask_jobqueue makes of it, in one line."""
    said = error.partition("stderr:\n")[2] or error
    return " ".join(said.split())


def _states(numbers: list[str]) -> dict[str, str]:
    """The state of each job that SLURM knows, such as PENDING or FAILED."""
    command = ["squeue", "-h", "-o", "%i %T", "--states=all", f"--jobs={','.join(numbers)}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return {}  # SLURM is busy; it is asked again
    return dict(line.split() for line in done.stdout.splitlines() if len(line.split()) == 2)


def _forget(cluster: Any, names: list[str]) -> None:
    """Jobs that are no more: the cluster then submits others in their place."""

    def forget() -> None:
        for name in cluster.workers.keys() & names:
            cluster.workers.pop(name).status = Status.closed
            cluster.worker_spec.pop(name, None)

    if names:
        cluster.loop.add_callback(forget)
