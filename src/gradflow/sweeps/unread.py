"""What is given for all jobs of a sweep is of those that read it."""

from collections import Counter
from collections.abc import Sequence

from gradflow.config import RunConfig
from gradflow.core.errors import UnreadError
from gradflow.sweeps.job_configs import JobComposer


def read_jobs(
    composer: JobComposer, jobs: Sequence[Sequence[str]]
) -> tuple[list[list[str]], list[RunConfig]]:
    """The jobs and their configs, each without what is given for all and nothing in it reads.

    Of a study of shortcuts, network.gate_bias=-4 is a value of those with gates. A line says of
    how many runs it is.

    Raises:
        GradflowError: a config is not valid; or nothing in any job reads what is given.
    """
    common = set(jobs[0]).intersection(*jobs[1:])
    kept, configs, unread = [], [], Counter[str]()
    for job in map(list, jobs):
        while True:
            try:
                config = composer.typed(job)
            except UnreadError as error:
                line = next((line for line in job if line.split("=")[0] == error.key), None)
                if line is None or line not in common:
                    raise
                unread[line] += 1
                if unread[line] == len(jobs):
                    raise
                job.remove(line)
            else:
                break
        kept.append(job)
        configs.append(config)
    for line, count in unread.items():
        print(
            f"{line}: is of {len(jobs) - count} of {len(jobs)} runs; nothing in the others reads it"
        )
    return kept, configs
