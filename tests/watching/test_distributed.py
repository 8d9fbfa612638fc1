"""Two processes under DDP: one folder, whose numbers are those of one process with both batches."""

import os
import subprocess
import sys

import pytest

from gradflow.records import read_records

SCRIPT = """
import os, sys, torch, gradflow
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from tests.support.watched import batches, residual

torch.set_num_threads(1)
together = "RANK" in os.environ
model = residual().double()
part = slice(None)
if together:
    torch.distributed.init_process_group("gloo")
    rank = torch.distributed.get_rank()
    part = slice(16 * rank, 16 * rank + 16)
    model = DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
with gradflow.watch(model, sys.argv[1], every=2, details=1) as watch:
    for x, y in batches(4):
        loss = nn.functional.cross_entropy(model(x[part].double()), y[part])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        watch.step(loss)
"""


@pytest.mark.slow
def test_one_folder_with_the_blocks_of_all_ranks(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"}
    alone = [sys.executable, str(script), str(tmp_path / "alone")]
    ranks = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2",
             "--standalone", str(script), str(tmp_path / "together")]  # fmt: skip
    for command in (alone, ranks):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    for table, columns in (
        ("layers", ["grad_norm", "weight_norm", "update_norm"]),
        ("blocks", ["input_rms", "branch_rms", "input_grad_norm", "skip_grad_norm",
                    "branch_grad_norm", "skip_share"]),
        ("block_details", ["input_mean"]),
        ("network_details", ["path_grad_norm", "path_share"]),
    ):  # fmt: skip
        one, two = (read_records(tmp_path / name, table) for name in ("alone", "together"))
        assert two.step.tolist() == one.step.tolist()
        for column in columns:
            assert two[column].tolist() == pytest.approx(
                one[column].tolist(), rel=1e-9, nan_ok=True
            )
    assert (tmp_path / "together" / "runs").is_dir()
