"""What is done for speed changes no number beyond what is stated.

channels_last      the same sums in another order: 1e-10 of a gradient in float64
graph=true         bit for bit
dtype=bfloat16     loss and gradient norms of a step: as roundings to 8 bits at random do
checkpoint=true    bit for bit, see test_initialization
device=cuda        the same training, 1e-5 in float64
"""

import copy
import itertools
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

from gradflow.config.probes import OffConfig
from gradflow.config.run import EvaluationConfig
from gradflow.core.errors import GradflowError
from gradflow.core.interrupts import Interrupted
from gradflow.core.seeds import seeded
from gradflow.networks import build_network
from gradflow.networks.families.mlp import MlpConfig
from gradflow.networks.families.transformer import TransformerConfig
from gradflow.networks.families.unet import UNetConfig
from gradflow.probes import Probes
from gradflow.records import RecordWriter, read_records
from gradflow.runs.execute import execute
from gradflow.training.checkpoint import Saved, restore
from gradflow.training.cuda_graph import EAGER_STEPS, GraphedStep
from gradflow.training.optimizers import build_optimizer, set_learning_rate
from gradflow.training.optimizers.adamw import AdamWConfig
from gradflow.training.optimizers.muon import MuonConfig
from gradflow.training.optimizers.normalized import NormalizedConfig
from gradflow.training.optimizers.sgd import SGDConfig
from gradflow.training.origin import present_origin
from gradflow.training.recorder import Recorder
from gradflow.training.step import EagerStep
from gradflow.training.tasks import classify
from tests.support.configs import small_config
from tests.support.processes import interrupt_at
from tests.support.rounding import assert_rounded_to_bfloat16

pytestmark = pytest.mark.numeric

KINDS = [MlpConfig(), TransformerConfig(depth=6), UNetConfig()]
TABLES = ("steps", "layers", "blocks", "evaluations")


def trained(tmp_path, name, **options):
    """The tables of a run, by name, without what says when and where."""
    config = small_config(tmp_path / name, **options)
    folder = execute(config).folder
    return {table: read_records(folder, table).drop(columns="run_id") for table in TABLES}


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_channels_last_is_a_layout_and_nothing_else(skip, block):
    """Gradients of every parameter, float64."""
    gradients = []
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(16, 3, 16, 16, generator=generator, dtype=torch.float64)
    labels = torch.randint(10, (16,), generator=generator)
    for layout in (torch.contiguous_format, torch.channels_last):
        network = build_network(
            "cifar_resnet", image_shape=(3, 16, 16), depth=20, width=8, block=block, skip=skip
        ).to(torch.float64)
        network.to(memory_format=layout)
        F.cross_entropy(network(images.contiguous(memory_format=layout)), labels).backward()
        gradients.append({name: p.grad for name, p in network.named_parameters()})
    for name, expected in gradients[0].items():
        assert (gradients[1][name] - expected).norm() <= 1e-10 * expected.norm() + 1e-14, name


class StandIn:
    """What a CUDA graph does, on a CPU: recording runs nothing, a replay writes to the same
    tensors. It restores what running the work to record it has changed."""

    def __init__(self, network, optimizer, probes):
        self.network, self.optimizer, self.probes = network, optimizer, probes
        self.captures = self.replays = 0

    def __call__(self, work):
        self.captures += 1
        network = copy.deepcopy(self.network.state_dict())
        optimizer = copy.deepcopy(self.optimizer.state_dict())
        values, measurement = work()
        self.network.load_state_dict(network)
        self.optimizer.load_state_dict(optimizer)

        def replay():
            self.replays += 1
            if measurement is not None:
                self.probes.arm(-1)
            new_values, new_measurement = work()
            values.copy_(new_values)
            if measurement is not None:
                for name, piece in measurement.pieces.items():
                    piece.copy_(new_measurement.pieces[name])

        graph = type("Graph", (), {"replay": staticmethod(replay)})()
        return graph, (values, measurement)


@pytest.mark.parametrize(
    "optimizer", [SGDConfig(clip_norm=1.0), AdamWConfig()], ids=lambda c: c.name
)
def test_a_step_that_is_replayed_is_the_step(tmp_path, optimizer):
    """Twelve steps, every other one measured, one with details: eager against replayed."""
    found = {}
    for graphed in (False, True):
        network = build_network("cifar_resnet", image_shape=(1, 8, 8), depth=8, width=4)
        built = build_optimizer(optimizer, network)
        with (
            RecordWriter(tmp_path / f"run{graphed}", "run") as writer,
            Probes(network, built) as probes,
        ):
            recorder = Recorder(writer, probes)
            step = EagerStep(network, classify, built, recorder, optimizer.clip_norm)
            stand_in = StandIn(network, built, probes)
            take = GraphedStep(step, stand_in) if graphed else step
            for index in range(12):
                generator = seeded(0, "batch", index)
                images = torch.randn(8, 1, 8, 8, generator=generator)
                labels = torch.randint(10, (8,), generator=generator)
                set_learning_rate(built, 0.1 / (1 + index))
                if index % 2 == 0:
                    probes.arm(index, details=index == 8)
                recorder.step(index, 0, 0.0, take(images, labels, generator))
            recorder._examples[8] = torch.zeros(2)
            recorder.flush()
        if graphed:
            assert stand_in.captures == 2  # one measured, one not
            assert stand_in.replays == 12 - EAGER_STEPS - 1  # the step with details is eager
        tables = ("steps", "layers", "blocks", "layer_details", "block_details")
        found[graphed] = {t: read_records(tmp_path / f"run{graphed}", t) for t in tables}
        found[graphed]["weights"] = network.state_dict()
    for table, eager in found[False].items():
        if table == "weights":
            assert all(torch.equal(found[True][table][name], eager[name]) for name in eager)
        else:
            assert found[True][table].equals(eager), table


class NothingOfTheHost(TorchFunctionMode):
    """Refuses to make a tensor from the host's numbers: a graph would read them at its replays."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        assert function not in (torch.tensor, torch.as_tensor), function
        return function(*args, **(kwargs or {}))


IMAGES = {"image_shape": (3, 8, 8), "depth": 8, "width": 4}


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("cifar_resnet", {**IMAGES, "skip": False}),
        ("cifar_resnet", {**IMAGES, "skip": True}),
        ("mlp", {"image_shape": (3, 8, 8)}),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_measured_step_needs_nothing_of_the_host(tmp_path, monkeypatch, family, options):
    """On torch's meta device, which has no values: what reads one fails, as in a capture."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.is_current_stream_capturing", lambda: True)
    network = build_network(family, **options).to("meta")
    parameters = list(network.parameters())
    optimizer = torch.optim.SGD(parameters, foreach=True)
    taken = optimizer.step

    def step():  # as the fused kernels, which do not count what they write
        with torch.autograd._unsafe_preserve_version_counter(tuple(parameters)):
            taken()

    monkeypatch.setattr(optimizer, "step", step)
    with RecordWriter(tmp_path, "run") as writer, Probes(network) as probes:
        take = EagerStep(network, classify, optimizer, Recorder(writer, probes), clip_norm=1.0)
        images = torch.empty(8, 3, 8, 8, device="meta")
        labels = torch.empty(8, dtype=torch.int64, device="meta")
        probes.arm(0)
        with NothingOfTheHost():
            take(images, labels, seeded(0, "noise", 0))
            found = probes.take()
    assert found is not None
    assert set(found.pieces) >= {"gradient", "weight", "update", "blocks"}


def test_a_resumed_rate_is_where_the_weights_are():
    """A checkpoint is read to the CPU; a graph that copied the rate from there would keep it."""
    network, there = build_network("mlp"), build_network("mlp").to("meta")
    one, other = (torch.optim.SGD(each.parameters()) for each in (network, there))
    one.param_groups[0]["lr"] = torch.tensor(0.1)
    saved = Saved(there.state_dict(), one.state_dict(), 1, [present_origin("cpu")])
    restore(saved, there, other)
    assert other.param_groups[0]["lr"].is_meta


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"graph": True}, "graph=True: needs device=cuda"),
        ({"dtype": "tf32"}, "dtype=tf32: needs device=cuda"),
        ({"dtype": "float16"}, "dtype=float16: choose one of float32, float64, bfloat16, tf32"),
    ],
)
def test_what_a_cpu_has_not_is_refused(tmp_path, options, told):
    with pytest.raises(GradflowError, match=told):
        small_config(tmp_path, **options)


def test_a_graph_changes_no_runs_identity(tmp_path):
    from gradflow.config.run_id import run_id

    config = small_config(tmp_path, device="cuda")
    assert run_id(config, "") == run_id(replace(config, graph=True), "")
    assert run_id(config, "") != run_id(replace(config, dtype="bfloat16"), "")


@pytest.mark.parametrize("skip", [False, True])
def test_bfloat16_is_the_rounding_of_eight_bits(tmp_path, skip):
    """Of a first step: loss, every layer's gradient norm, every block's two. Later steps amplify
    any rounding at all, so they could only say how chaotic a training is."""
    count = itertools.count()

    def first_step(dtype="float64"):
        off = EvaluationConfig(every=1, images=1)
        folder = tmp_path / str(next(count))
        options = {"depth": 14, "skip": skip, "steps": 1, "evaluation": off, "details": OffConfig()}
        found = trained(folder, "run", dtype=dtype, **options)
        blocks = found["blocks"]
        parts = (found["steps"].loss, found["layers"].grad_norm)
        return np.concatenate([*parts, blocks.input_grad_norm, blocks.branch_rms.dropna()])

    assert_rounded_to_bfloat16(first_step("bfloat16"), first_step(), first_step)


@pytest.mark.parametrize(
    "network", [MlpConfig(), TransformerConfig(depth=6), UNetConfig()], ids=lambda c: c.name
)
def test_bfloat16_trains_every_kind_of_layer(tmp_path, network):
    steps = trained(tmp_path, "run", network=network, dtype="bfloat16", steps=2)["steps"]
    assert np.isfinite(steps.loss).all()


def test_a_run_does_not_load_what_it_does_not_use(tmp_path):
    """The compiler, SciPy's tests and symbolic shapes are half of a start."""
    execute(small_config(tmp_path, steps=1))  # decodes the digits, with scikit-learn
    code = (
        "import sys; from pathlib import Path; from gradflow.runs.execute import execute\n"
        "from tests.support.configs import small_config\n"
        f"execute(small_config(Path({str(tmp_path)!r}), steps=2))\n"
        "heavy = {'torch._dynamo', 'scipy.stats', 'sympy', 'matplotlib'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines()[-1] == "[]"


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "tf32"])
@pytest.mark.parametrize(
    "optimizer", [SGDConfig(), AdamWConfig(), NormalizedConfig()], ids=lambda config: config.name
)
def test_a_cuda_graph_is_the_eager_step_bit_for_bit(tmp_path, dtype, optimizer):
    options = {"device": "cuda", "dtype": dtype, "steps": 16, "optimizer": optimizer}
    eager = trained(tmp_path, "eager", **options)
    graphed = trained(tmp_path, "graph", graph=True, **options)
    for table in TABLES:
        assert eager[table].equals(graphed[table]), table


@pytest.mark.gpu
@pytest.mark.parametrize("optimizer", [SGDConfig(), AdamWConfig()], ids=lambda config: config.name)
def test_a_graphed_run_that_is_interrupted_is_the_whole_one_bit_for_bit(
    tmp_path, monkeypatch, optimizer
):
    options = {"device": "cuda", "steps": 16, "optimizer": optimizer, "graph": True}
    whole = trained(tmp_path, "whole", **options)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 9)
        with pytest.raises(Interrupted):
            trained(tmp_path, "parts", **options)
    parts = trained(tmp_path, "parts", **options)
    for table in TABLES:
        assert whole[table].equals(parts[table]), table


@pytest.mark.gpu
def test_a_graph_of_a_rate_on_the_host_is_refused(tmp_path):
    config = small_config(tmp_path, device="cuda", graph=True, optimizer=MuonConfig())
    with pytest.raises(GradflowError, match="graph=True: the rate of muon is a number"):
        execute(config)


@pytest.mark.gpu
def test_a_gpu_trains_as_a_cpu_does(tmp_path):
    here = trained(tmp_path, "cpu", dtype="float64")
    there = trained(tmp_path, "cuda", device="cuda", dtype="float64")
    np.testing.assert_allclose(there["steps"].loss, here["steps"].loss, rtol=1e-6)
    np.testing.assert_allclose(there["layers"].grad_norm, here["layers"].grad_norm, rtol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize(("checkpoint", "gigabytes"), [(False, 16), (True, 4)])
def test_depth_1202_fits(checkpoint, gigabytes):
    network = build_network("cifar_resnet", depth=1202, checkpoint=checkpoint).cuda()
    network.to(memory_format=torch.channels_last)
    images = torch.randn(128, 3, 32, 32, device="cuda")
    labels = torch.zeros(128, dtype=torch.int64, device="cuda")
    optimizer = build_optimizer(SGDConfig(), network)
    torch.cuda.reset_peak_memory_stats()
    with torch.autocast("cuda", torch.bfloat16):
        loss = F.cross_entropy(network(images), labels)
    loss.backward()
    optimizer.step()
    assert torch.cuda.max_memory_allocated() < gigabytes * 2**30
