"""Training on two ranks against one process in float64: layers are of all ranks, blocks of one."""

import subprocess
import sys
from pathlib import Path

import pytest

START = """
import contextlib, sys, warnings, torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from gradflow.core.errors import GradflowError
from gradflow.networks import build_network
from gradflow.probes import Probes

IMAGES = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double()

def build(width=5):
    return build_network("mlp", image_shape=(1, 8, 8), depth=6, width=width).double()

def probes_of(network):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        probes = Probes(network)
    assert not dist.is_initialized() or "blocks are of this rank" in str(caught[0].message), caught
    return probes

def train(network, optimizer, part=slice(8), probes=None, passes=2):
    with probes or contextlib.nullcontext():
        for step in range(3):
            if probes is not None:
                probes.arm(step, details=step == 2)
            for images in IMAGES.split(8)[:passes]:
                F.cross_entropy(network(images[part]), torch.arange(8)[part]).backward()
            optimizer.step()
            optimizer.zero_grad()
    return None if probes is None else probes.tables()

def alone():
    network = build()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01)
    return train(network, optimizer, probes=probes_of(network))

def close(one, other, rtol=1e-12):
    torch.testing.assert_close(torch.tensor(one), torch.tensor(other), rtol=rtol, atol=1e-14,
                               equal_nan=True)

def agree(found, expected):
    for table, names in (("layers", ["grad_norm", "weight_norm", "update_norm", "block_index"]),
                         ("layer_details", ["zero_fraction"])):
        for name in names:
            one, other = (t[table][name].to_numpy(zero_copy_only=False) for t in (found, expected))
            close(one, other)
    assert found["layer_details"]["histogram"] == expected["layer_details"]["histogram"]
    names = ("input_grad_norm", "skip_grad_norm", "branch_grad_norm")
    for name in names:
        one, other = (t["blocks"][name].fill_null(0).to_numpy() for t in (found, expected))
        squares = torch.tensor(one) ** 2
        dist.all_reduce(squares)  # a rank's loss is a mean of half as many images
        close((squares / 4).sqrt().numpy(), other)

def main(work):
    if __name__ == "__main__":
        mp.spawn(work, args=(sys.argv[1],), nprocs=2)
        print("agreed")

def meet(rank, path):
    dist.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
    torch.set_num_threads(1)
    return slice(4 * rank, 4 * rank + 4)
"""

DDP = """
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn.parallel import DistributedDataParallel

def work(rank, path):
    expected = alone()
    part = meet(rank, path)
    network = build()
    optimizer = ZeroRedundancyOptimizer(network.parameters(), torch.optim.AdamW, lr=0.01)
    wrapped = DistributedDataParallel(network)
    agree(train(wrapped, optimizer, part, probes_of(network)), expected)
    dist.destroy_process_group()

main(work)
"""

FSDP = """
from torch.distributed.fsdp import fully_shard

def sharded(parts):
    network, mesh = build(), torch.distributed.init_device_mesh("cpu", (2,))
    modules = dict(network.named_modules())
    for block in ("blocks.0", "blocks.1"):
        for part in parts:
            fully_shard(modules[f"{block}.{part}".strip(".")], mesh=mesh)
    return fully_shard(network, mesh=mesh)

def work(rank, path):
    expected = alone()
    part = meet(rank, path)
    for parts in ([], [""], ["branch.linear1", "branch.linear2"]):
        network, twin = sharded(parts), sharded(parts)
        for model, probes in ((network, probes_of(network)), (twin, None)):
            optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
            found = train(model, optimizer, part, probes)
            if probes is not None:
                agree(found, expected)
                assert found["network_details"]["path_grad_norm"].null_count == 1
        for one, other in zip(network.parameters(), twin.parameters(), strict=True):
            assert torch.equal(one.to_local(), other.to_local())
    dist.destroy_process_group()

main(work)
"""

TENSOR = """
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

def work(rank, path):
    meet(rank, path)
    network, mesh = build(6), torch.distributed.init_device_mesh("cpu", (2,))
    plan = {"linear1": ColwiseParallel(), "linear2": RowwiseParallel()}
    for block in network.blocks:
        parallelize_module(block.branch, mesh, plan)
    try:
        Probes(network)
    except GradflowError as error:
        assert "blocks.0.branch.linear1.weight: is sharded (tensor parallel)" in str(error), error
    else:
        raise AssertionError("not refused")
    dist.destroy_process_group()

main(work)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "ranks", [DDP, FSDP, TENSOR], ids=["ddp_and_zero", "fsdp2", "tensor_parallel"]
)
def test_layers_are_of_all_ranks_and_blocks_of_one(tmp_path: Path, ranks: str):
    script = tmp_path / "ranks.py"
    script.write_text(START + ranks)
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "meeting")], capture_output=True, text=True
    )
    assert "agreed" in done.stdout, done.stderr
