"""What is given for all jobs of a sweep, and read by some of them, by all or by none."""

import pytest

from gradflow.core.errors import GradflowError, UnreadError
from gradflow.sweeps.unread import read_jobs

GATE, BIAS, STRONGER = "network.shortcut=gate", "network.gate_bias=-4", "network.gate_bias=-9"


class Composer:
    """Of jobs whose gate_bias a gate reads; a config is the job itself."""

    def typed(self, job):
        for line in job:
            if line.startswith("network.gate_bias") and GATE not in job:
                raise UnreadError(f"{line}: is read by gate", "network.gate_bias")
        return tuple(job)


def read(*jobs):
    return read_jobs(Composer(), jobs)[0]


def test_a_value_for_all_is_of_the_jobs_that_read_it(capsys):
    jobs = read([GATE, BIAS], ["network.shortcut=A", BIAS], ["network.shortcut=B", BIAS])
    assert jobs == [[GATE, BIAS], ["network.shortcut=A"], ["network.shortcut=B"]]
    assert f"{BIAS}: is of 1 of 3 runs" in capsys.readouterr().out


def test_what_all_read_stays_and_is_not_spoken_of(capsys):
    assert read([GATE, BIAS, "seed=0"], [GATE, BIAS, "seed=1"])[1] == [GATE, BIAS, "seed=1"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "jobs",
    [
        [["network.shortcut=A", BIAS], ["network.shortcut=B", BIAS]],  # none reads it
        [["network.shortcut=A", BIAS]],
        [[GATE, BIAS], [GATE, STRONGER], ["network.shortcut=A", STRONGER]],  # it was swept
    ],
)
def test_what_no_job_reads_or_what_was_swept_is_refused(jobs):
    with pytest.raises(GradflowError, match="is read by gate"):
        read(*jobs)
