"""Probes around any network and any loop: they measure what they say and change nothing."""

import gc
import math
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gradflow.config import transformers
from gradflow.config.probes import (
    EveryConfig,
    InitializationConfig,
    ListedConfig,
    LogSpacedConfig,
    OffConfig,
)
from gradflow.config.registry import GROUPS
from gradflow.core.errors import GradflowError
from gradflow.networks import build_network
from gradflow.probes import Probes, fires
from gradflow.probes.norms import norms, square, squares_of_parts
from gradflow.records import SCHEMAS
from gradflow.training.tasks import task_of
from tests.support.measured import cross_entropy, frames, measure
from tests.support.rounding import assert_rounded_to_bfloat16

pytestmark = pytest.mark.numeric

FAMILIES = {name: choice.config for name, choice in GROUPS["network"].items()}
del FAMILIES["custom"]  # is what its builder builds: tests/networks/test_custom.py
SMALL = {
    "cifar_resnet": {"depth": 14, "width": 4, "shortcut": "exclusive_gate"},
    "imagenet_resnet": {"depth": 18, "width": 2},
    "mlp": {"depth": 8, "width": 8, "norm": "batch"},
    "transformer": {"depth": 10, "width": 8, "norm": "layer"},
    "unet": {"depth": 12, "width": 2},
    "diffusion_unet": {"depth": 12, "width": 2},
    "language_model": {"depth": 6, "width": 8, "heads": 2},
}


def train(family, *, probed, details=False, raise_in=None, checkpoint=False, **design):
    """Three steps of SGD; the network, and losses and gradients step by step."""
    options = {**SMALL[family], "checkpoint": checkpoint, **design}
    side = 32 if family == "imagenet_resnet" else 8
    shape = (1, 1, side**2) if family == "language_model" else (1, side, side)
    network = build_network(family, image_shape=shape, outputs=10, **options)
    task = task_of(FAMILIES[family](**options))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, fused=True)
    probes = Probes(network, optimizer)
    seen = []

    def steps():
        generator = torch.Generator().manual_seed(0)
        for step in range(3):
            images, labels = torch.randn(8, 1, side, side, generator=generator), torch.arange(8)
            if family == "language_model":
                images = labels = torch.randint(10, (8, side**2), generator=generator)
            if probed:
                probes.arm(step, details=details)
            loss, _ = task(network, images, labels, generator)
            if raise_in == "forward" and step == 1:
                raise RuntimeError("interrupted")
            loss.backward()
            found = [p.grad for p in network.parameters()]  # None: of a plain twin's shortcut
            seen.append((loss.detach(), [grad.clone() for grad in found if grad is not None]))
            if raise_in == "backward" and step == 1:
                raise RuntimeError("interrupted")
            optimizer.step()
            optimizer.zero_grad()

    if probed:
        with probes:
            steps()
    else:
        steps()
    return network, seen, probes


def assert_equal_bit_for_bit(one, other):
    for (loss, gradients), (other_loss, other_gradients) in zip(one[1], other[1], strict=True):
        assert torch.equal(loss, other_loss)
        assert all(map(torch.equal, gradients, other_gradients))
    states = one[0].state_dict(), other[0].state_dict()
    assert all(map(torch.equal, states[0].values(), states[1].values()))


@pytest.mark.parametrize("details", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_measuring_changes_nothing(family, details):
    """Invariant 2: losses, gradients, weights and buffers, bit for bit."""
    bare = train(family, probed=False)
    measured = train(family, probed=True, details=details)
    assert_equal_bit_for_bit(bare, measured)
    tables = measured[2].tables()
    assert tables["blocks"].num_rows == 3 * (len(measured[0].blocks) + 1)


DESIGNS = {
    **{name: {"placement": name} for name in transformers.PLACEMENTS},
    **{name: {"connection": name} for name in transformers.CONNECTIONS},
    "dyt": {"norm": "dyt"},
    "qk_norm": {"qk_norm": True},
}


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("design", DESIGNS)
def test_measuring_any_design_changes_nothing(design, skip):
    """And each block has its parts, with nothing unknown."""
    chosen = {**DESIGNS[design], "skip": skip}
    measured = train("language_model", probed=True, details=True, **chosen)
    assert_equal_bit_for_bit(train("language_model", probed=False, **chosen), measured)
    blocks = measured[2].tables()["blocks"].to_pandas()
    assert blocks.reason.isna().all()
    inside = blocks[blocks.block_index < 2]
    assert inside[["skip_grad_norm", "branch_grad_norm", "skip_share"]].notna().all(axis=None)
    assert (inside.skip_grad_norm > 0).eq(skip).all()
    has_streams = design in ("value_residual", "reversible") or "hyper" in design
    assert inside.stream_shares.notna().eq(has_streams).all()


@pytest.mark.parametrize("connection", ["manifold_hyper", "attention_residual", "value_residual"])
def test_a_checkpointed_design_is_the_same_network(connection):
    plain = train("language_model", probed=False, connection=connection)
    again = train("language_model", probed=True, checkpoint=True, connection=connection)
    assert_equal_bit_for_bit(plain, again)


@pytest.mark.parametrize("details", [False, True])
def test_measuring_a_checkpointed_network_changes_nothing_and_counts_once(details):
    plain = train("cifar_resnet", probed=True, details=details)
    again = train("cifar_resnet", probed=True, details=details, checkpoint=True)
    assert_equal_bit_for_bit(train("cifar_resnet", probed=False, checkpoint=True), again)
    assert plain[2].tables() == again[2].tables()


def count_hooks(network):
    return sum(
        len(m._forward_pre_hooks) + len(m._forward_hooks) + len(m._backward_hooks)
        for m in network.modules()
    )


def test_an_error_inside_the_forward_pass_leaves_no_hook():
    network = build_network("mlp", image_shape=(1, 2, 2), depth=4, width=4)
    network.head.register_forward_pre_hook(lambda *_: 1 / 0)
    with Probes(network) as probes:
        probes.arm(0, details=True)
        with pytest.raises(ZeroDivisionError):
            network(torch.randn(4, 1, 2, 2))
        assert count_hooks(network) == 1
        probes.disarm()


def global_hooks():
    """Torch's tables of hooks on every module that are not empty."""
    tables = vars(torch.nn.modules.module)
    named = [name for name in tables if name.startswith("_global_") and name.endswith("_hooks")]
    assert len(named) >= 5
    return [name for name in named if tables[name]]


@pytest.mark.parametrize("raise_in", ["forward", "backward"])
def test_nothing_is_left_after_an_exception(raise_in):
    with pytest.raises(RuntimeError, match="interrupted"):
        train("mlp", probed=True, details=True, raise_in=raise_in)
    network = build_network("mlp", image_shape=(1, 2, 2), depth=4, width=4)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    images = torch.randn(4, 1, 2, 2)

    def fail():
        with Probes(network, optimizer) as probes:
            probes.arm(0, details=True)
            loss = cross_entropy(network, images)
            if raise_in == "backward":
                loss.backward()
            assert global_hooks()
            assert count_hooks(network) == 0
            raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        fail()
    assert not global_hooks()
    optimizer.step()  # neither hooks nor half a measurement come back


def test_only_armed_steps_are_measured():
    network = build_network("mlp", image_shape=(1, 2, 2), depth=4, width=4)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    images = torch.randn(4, 1, 2, 2)
    with Probes(network, optimizer) as probes:
        for step in range(4):
            if step % 2:
                probes.arm(step)
            with torch.no_grad():
                network(100 * images)  # an evaluation in between is not measured
            cross_entropy(network, images).backward()
            optimizer.step()
            optimizer.zero_grad()
    found = frames(probes)
    assert sorted(found["layers"].step.unique()) == [1, 3]
    assert found["blocks"].input_rms.max() < 100
    assert not probes.tables()


def test_no_measured_tensor_outlives_its_step():
    network = build_network("mlp", image_shape=(1, 2, 2), depth=8, width=4)
    alive = []
    handle = network.blocks[1].register_forward_hook(
        lambda m, inputs, y: alive.append(weakref.ref(inputs[0]))
    )
    gc.disable()
    try:
        with Probes(network) as probes:
            for step in range(3):
                probes.arm(step, details=True)
                cross_entropy(network, torch.randn(4, 1, 2, 2)).backward()
                probes.gradients()
        assert [ref() for ref in alive] == [None] * 3
    finally:
        gc.enable()
        handle.remove()


def test_tables_have_the_columns_of_the_records():
    _, _, probes = train("cifar_resnet", probed=True, details=True)
    tables = probes.tables()
    assert set(tables) == {
        "layers", "blocks", "layer_details", "block_details", "network_details"
    }  # fmt: skip
    later = {"run_id", "example_cosine", "signal_to_noise"}
    for name, table in tables.items():
        assert set(table.column_names) == set(SCHEMAS[name].names) - later


def test_update_norm_is_what_the_optimiser_changed():
    network = build_network("mlp", image_shape=(1, 2, 2), depth=4, width=4)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.5)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    with Probes(network, optimizer) as probes:
        probes.arm(0)
        cross_entropy(network, torch.randn(4, 1, 2, 2)).backward()
        optimizer.step()
    layers = frames(probes)["layers"]
    after = dict(network.named_parameters())
    for row in layers.itertuples():
        change = after[f"{row.layer_name}.weight"].detach() - before[f"{row.layer_name}.weight"]
        assert row.update_norm == pytest.approx(float(change.double().norm()), rel=1e-6)
        weight = before[f"{row.layer_name}.weight"]
        assert row.weight_norm == pytest.approx(float(weight.double().norm()), rel=1e-6)


def test_gradient_accumulation():
    """Layers: the accumulated gradient. Blocks: root of summed squares over micro-batches."""
    network = build_network("mlp", image_shape=(1, 2, 3), depth=8, width=6, norm="none").double()
    halves = torch.randn(2, 4, 1, 2, 3, dtype=torch.float64)
    single = []
    for half in halves:
        network.zero_grad()
        single.append(measure(network, lambda half=half: cross_entropy(network, half)))
    network.zero_grad()
    with Probes(network) as probes:
        probes.arm(0)
        for half in halves:
            cross_entropy(network, half).backward()
    found = frames(probes)
    gradients = [p.grad for p in network.parameters() if p.ndim > 1]
    expected = [float(g.norm()) for g in gradients]
    np.testing.assert_allclose(found["layers"].grad_norm, expected, rtol=1e-12)
    one, two = (tables["blocks"] for tables in single)
    for name in ("input_grad_norm", "skip_grad_norm", "branch_grad_norm"):
        both = np.hypot(one[name], two[name])
        np.testing.assert_allclose(found["blocks"][name], both, rtol=1e-12)
    both = np.sqrt((one.input_rms**2 + two.input_rms**2) / 2)
    np.testing.assert_allclose(found["blocks"].input_rms, both, rtol=1e-12)
    weights = [f.input_grad_norm**2 for f in (one, two)]
    share = (one.skip_share * weights[0] + two.skip_share * weights[1]) / sum(weights)
    np.testing.assert_allclose(found["blocks"].skip_share, share, rtol=1e-10)


@pytest.mark.parametrize("unscale", [False, True])
@pytest.mark.parametrize("fused", [False, True])
def test_gradient_scaling_is_taken_out(fused, unscale):
    network = build_network("mlp", image_shape=(1, 2, 3), depth=8, width=6)
    images = torch.randn(8, 1, 2, 3)
    expected = measure(network, lambda: cross_entropy(network, images))
    network.zero_grad()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    with Probes(network, optimizer, scaler=scaler) as probes:
        probes.arm(0)
        scaler.scale(cross_entropy(network, images)).backward()
        if unscale:
            scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
    found = frames(probes)
    np.testing.assert_allclose(found["layers"].grad_norm, expected["layers"].grad_norm, rtol=1e-5)
    for name in ("input_grad_norm", "skip_grad_norm", "branch_grad_norm", "skip_share"):
        np.testing.assert_allclose(found["blocks"][name], expected["blocks"][name], rtol=1e-5)
    assert found["layers"].update_norm.gt(0).all()


def test_autocast_measures_the_tensors_that_there_are():
    images = torch.randn(16, 1, 8, 8, dtype=torch.float64)

    def norms_of(dtype=torch.float64, *, autocast=False):
        network = build_network("cifar_resnet", image_shape=(1, 8, 8), depth=14, width=8).to(dtype)

        def loss():
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                return cross_entropy(network, images.to(dtype))

        found = measure(network, loss)
        blocks = found["blocks"]
        assert blocks.skip_share.notna()[:-1].all()
        parts = (blocks.input_rms, blocks.branch_rms, blocks.input_grad_norm, blocks.skip_share)
        return np.concatenate([found["layers"].grad_norm, *(part.dropna() for part in parts)])

    assert_rounded_to_bfloat16(norms_of(torch.float32, autocast=True), norms_of(), norms_of)


def test_frozen_and_unused_parameters_are_rows_with_null():
    network = build_network("cifar_resnet", image_shape=(1, 8, 8), depth=8, width=2)
    network.stem.requires_grad_(False)
    network.unused = nn.Linear(2, 2)
    with Probes(network) as probes:
        probes.arm(0, details=True)
        cross_entropy(network, torch.randn(4, 1, 8, 8)).backward()
    tables = probes.tables()
    layers = {row["layer_name"]: row for row in tables["layers"].to_pylist()}
    assert layers["stem.conv1"]["grad_norm"] is None
    assert layers["unused"]["grad_norm"] is None
    assert layers["unused"]["weight_norm"] > 0
    assert layers["head.2"]["grad_norm"] > 0
    first, second = tables["blocks"].to_pylist()[:2]
    assert first["input_grad_norm"] is None  # nothing before the first block is trained
    assert first["skip_share"] is None
    assert first["input_rms"] > 0
    assert second["skip_share"] is not None
    assert tables["layer_details"].to_pylist()[0]["histogram"] is None
    assert tables["network_details"].to_pylist()[0]["path_share"] is None


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_inf_and_nan_are_recorded_as_such(bad):
    network = build_network("mlp", image_shape=(1, 2, 3), depth=8, width=6, norm="none")
    with Probes(network) as probes:
        probes.arm(0, details=True)
        (cross_entropy(network, torch.randn(4, 1, 2, 3)) * bad).backward()
    tables = probes.tables()
    values = tables["layers"]["grad_norm"]
    assert values.null_count == 0
    assert not np.isfinite(values.to_numpy()).any()
    assert not np.isfinite(tables["blocks"]["input_grad_norm"].to_numpy()).any()


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(GradflowError, match="ReLU: has no weighted layer"):
        Probes(nn.ReLU())
    network = build_network("mlp", image_shape=(1, 2, 2), depth=4, width=4)
    with pytest.raises(GradflowError, match=r"named blocks='layers.\*'; try one of .*blocks.\*"):
        Probes(network, blocks="layers.*")
    with pytest.raises(GradflowError, match="blocks.0: has no module branch='conv'; its modules"):
        Probes(network, blocks="blocks.*", branch="conv")
    with pytest.raises(GradflowError, match="branch='branch', shortcut=None: they are within"):
        Probes(network, branch="branch")


def test_a_compiled_network_is_refused_but_for_its_layers():
    network = build_network("mlp", image_shape=(1, 2, 2), depth=4, width=4)
    images = torch.randn(4, 1, 2, 2)
    expected = measure(network, lambda: cross_entropy(network, images))["layers"]
    network.zero_grad()
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="eager")
    with pytest.raises(GradflowError, match="is compiled; nothing inside"):
        Probes(compiled, blocks="_orig_mod.blocks.*")
    with pytest.warns(UserWarning, match="OptimizedModule: is compiled; only layers are measured"):
        probes = Probes(compiled)
    with probes:
        probes.arm(0)
        cross_entropy(compiled, images).backward()
    found = probes.tables()
    assert set(found) == {"layers"}
    np.testing.assert_allclose(found["layers"]["grad_norm"], expected.grad_norm, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:Using `torch.compile")  # of torch, about global hooks
@pytest.mark.parametrize("called_before", [False, True])
def test_a_network_compiled_elsewhere_is_measured_in_its_layers(called_before):
    network = build_network("mlp", image_shape=(1, 2, 2), depth=4, width=4)
    images = torch.randn(4, 1, 2, 2)
    expected = measure(network, lambda: cross_entropy(network, images))["layers"]
    network.zero_grad()
    torch._dynamo.reset()
    compiled = torch.compile(network, backend="eager")
    if called_before:
        compiled(images)
    with Probes(network) as probes:
        probes.arm(0)
        with pytest.warns(UserWarning, match="Network: is compiled; only layers are measured"):
            cross_entropy(compiled, images).backward()
    found = probes.tables()
    assert set(found) == {"layers"}
    np.testing.assert_allclose(found["layers"]["grad_norm"], expected.grad_norm, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # of Dynamo, about its inputs
def test_a_compiled_branch_is_a_layer_and_the_sum_around_it_is_measured():
    network = build_network("mlp", image_shape=(1, 2, 3), depth=8, width=6).double()
    images = torch.randn(4, 1, 2, 3, dtype=torch.float64)
    expected = measure(network, lambda: cross_entropy(network, images))["blocks"]
    network.zero_grad()
    torch._dynamo.reset()
    network.blocks[1].branch = torch.compile(network.blocks[1].branch, backend="eager")
    with pytest.warns(UserWarning, match="blocks.1.branch: is compiled; nothing inside is"):
        probes = Probes(network)
    with probes:
        probes.arm(0)
        cross_entropy(network, images).backward()
    found = frames(probes)["blocks"]
    for name in ("input_grad_norm", "skip_grad_norm", "branch_grad_norm", "branch_rms"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-10)


def test_reentrant_checkpointing_hides_the_blocks_and_says_so():
    network = build_network("mlp", image_shape=(1, 2, 2), depth=6, width=4)

    class Reentrant(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network

        def forward(self, x):
            h = network.stem(x)
            for block in network.blocks:
                h = torch.utils.checkpoint.checkpoint(block, h, use_reentrant=True)
            return network.head(h)

    whole = Reentrant()
    with Probes(whole, blocks="inner.blocks.*", branch="branch", shortcut="shortcut") as probes:
        probes.arm(0)
        whole(torch.randn(4, 1, 2, 2)).square().sum().backward()
    rows = probes.tables()["blocks"].to_pylist()
    assert [row["skip_grad_norm"] for row in rows] == [None] * 3
    assert all("runs without gradient" in row["reason"] for row in rows[:-1])


def test_schedules():
    steps = 120
    assert [s for s in range(11) if fires(EveryConfig(every=4), s, 11)] == [0, 4, 8, 10]
    assert [s for s in range(steps) if fires(LogSpacedConfig(per_decade=2), s, steps)] == [
        0, 1, 4, 10, 32, 100, 119,
    ]  # fmt: skip
    assert [s for s in range(steps) if fires(ListedConfig(steps=(3, 7)), s, steps)] == [3, 7]
    assert [s for s in range(steps) if fires(InitializationConfig(), s, steps)] == [0]
    assert not any(fires(OffConfig(), s, steps) for s in range(steps))


@given(st.integers(1, 20), st.integers(1, 3000))
def test_log_spaced_steps_grow_and_have_both_ends(per_decade, steps):
    schedule = LogSpacedConfig(per_decade=per_decade)
    found = [s for s in range(steps) if fires(schedule, s, steps)]
    assert found[0] == 0
    assert found[-1] == steps - 1
    marks = {0, steps - 1, *(int(np.ceil(10 ** (k / per_decade) - 1e-9)) for k in range(80))}
    assert set(found) == {mark for mark in marks if mark < steps}


LAYOUTS = {
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.to(memory_format=torch.channels_last),
    "with gaps": lambda x: x[..., ::2],
    "expanded": lambda x: x[:1].expand(3, -1, -1, -1),
}


def sums_of_squares(x, y):
    """As gradflow takes them, and in float64: of both, of their difference, and two norms."""
    found = [float(square(x)), *map(float, squares_of_parts(x, y)), *norms([x, y]).tolist()]
    one, other, rest = (t.numpy().astype(np.float64) for t in (x, y, x - y))
    squares = [(a**2).sum() for a in (one, one, other, rest)]
    return found, [*squares, np.linalg.norm(one), np.linalg.norm(other)]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [2.0**k for k in (-100, -60, -40, 0, 40, 83)])
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (40, 16, 16, 16)])
def test_squares_in_any_range_and_layout(shape, size, layout):
    """Of integers up to 11 in size: float32 sums 2^15 of their squares exactly in any order, and
    so are sums of those in float64. The root of a norm rounds once, in float32 or float64."""
    generator = torch.Generator().manual_seed(0)
    x, y = (LAYOUTS[layout](t) for t in integers(shape, generator) * size)
    found, expected = sums_of_squares(x, y)
    assert found[:4] == expected[:4]
    assert found[4:] == pytest.approx(expected[4:], rel=2**-24)


def integers(shape, generator):
    return torch.randint(-11, 12, (2, *shape), generator=generator).float()


def test_squares_of_more_than_float32_can_count():
    x, y = integers((400, 16, 16, 16), torch.Generator().manual_seed(1))
    found, expected = sums_of_squares(x, y)
    assert all(np.float32(total) != total for total in expected[:4])
    assert found[:4] == expected[:4]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (40, 16, 16, 16)])
def test_squares_of_numbers_that_round(shape, layout):
    """Float32 sums at most 2^16 numbers before float64 takes over. In the worst order, one after
    another, that is off by the 2^-24 of each addition, at random: a standard deviation of
    0.24 sqrt(n) 2^-24. Eight of them are allowed."""
    generator = torch.Generator().manual_seed(0)
    x, y = (LAYOUTS[layout](t) for t in torch.randn(2, *shape, generator=generator))
    found, expected = sums_of_squares(x, y)
    added = min(x.numel(), 2**16)
    assert found == pytest.approx(expected, rel=2 * math.sqrt(added) * 2**-24)


@pytest.mark.parametrize("family", ["cifar_resnet", "mlp", "transformer"])
def test_layers_of_twins_are_in_the_same_blocks(family):
    """A plain network has no residual sum; its layers have their block all the same."""
    found = {}
    for skip in (False, True):
        network = build_network(family, image_shape=(1, 8, 8), skip=skip)
        layers = measure(network, lambda n=network: cross_entropy(n, torch.randn(4, 1, 8, 8)))
        layers = layers["layers"]
        within = layers.layer_name.str.startswith("blocks.")
        assert layers.block_index.notna().equals(within)
        found[skip] = layers[within].set_index("layer_name").block_index
    assert found[False].equals(found[True].reindex(found[False].index))
