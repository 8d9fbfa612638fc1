"""Processes of a pool end with the process that made it."""

import subprocess
import sys
import time

import psutil
import pytest

PROGRAM = """
import os, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from gradflow.core.interrupts import end_with_parent

if __name__ == "__main__":
    with ProcessPoolExecutor(1, get_context("{method}"), end_with_parent) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 600).result()
"""


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_a_worker_ends_when_its_program_is_killed(tmp_path, method):
    (tmp_path / "program.py").write_text(PROGRAM.format(method=method))
    started = [sys.executable, str(tmp_path / "program.py")]
    with subprocess.Popen(started, stdout=subprocess.PIPE, text=True) as program:
        worker = psutil.Process(int(program.stdout.readline()))
        program.kill()
    for _ in range(300):
        if not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    worker.kill()
    pytest.fail("the worker outlived its program by 30 s")
