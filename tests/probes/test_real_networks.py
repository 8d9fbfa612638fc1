"""Networks of other people, tiny and with random weights: residual sums are found without names,
their parts agree with views of x (tests/support/alias.py), and measuring changes nothing."""

import copy
import importlib.util

import pytest
import torch

from gradflow.probes import Probes
from tests.support.alias import sums_of
from tests.support.real_networks import (
    IMAGES,
    TEXT,
    TIMM,
    from_timm,
    from_transformers,
    has_torchvision,
    unet,
    wav2vec2,
)

transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="needs pip install '.[networks]'"
)

# How many residual sums there are, and how many more are listed as null.
SUMS = {
    "gpt2": 4, "gpt_neox": 2, "gptj": 2, "opt": 4, "bloom": 4, "llama": 4, "mistral": 4,
    "qwen2": 4, "qwen3": 4, "gemma": 4, "gemma2": 4, "phi": 2, "olmo2": 4, "mixtral": 4,
    "bert": 4, "distilbert": 4, "albert": 4, "electra": 4, "t5": 10, "mamba": 4,
    "vit": 4, "deit": 4, "beit": 4, "dinov2": 4, "swin": 4, "convnext": 3, "convnextv2": 6,
    "resnet": 4, "regnet": 4, "efficientnet": 1, "mobilenet_v2": 10, "poolformer": 8,
    "segformer": 8, "wav2vec2": 5,
    "resnet10t": 4, "resnet18": 8, "resnext26ts": 8, "densenet121": 0,
    "mobilenetv3_small_050": 7, "test_nfnet": 4, "vit_tiny_patch16_224": 4,
    "swin_tiny_patch4_window7_224": 8, "convnext_atto": 4, "efficientnet_lite0": 9,
    "mixer_s32_224": 16, "resmlp_12_224": 24, "unet": 12,
}  # fmt: skip
NULL = {"t5": 2, "mamba": 2, "unet": 7}
ELSEWHERE = {"unet": 3}  # inputs of blocks that take a long skip too
QUICK = ("gpt2", "llama", "bert", "albert", "t5", "mixtral", "mamba", "vit", "convnext", "resnet")


def check(name, made):
    network, loss_of = made
    network.train()
    torch.manual_seed(3)
    expected = sums_of(network, loss_of)
    network.zero_grad()
    torch.manual_seed(3)
    bare = loss_of(network)
    bare.backward()
    gradients = [None if p.grad is None else p.grad.clone() for p in network.parameters()]
    with Probes(network) as probes:
        for step in range(2):
            network.zero_grad()
            torch.manual_seed(3)
            probes.arm(step, details=step == 1)
            loss = loss_of(network)
            loss.backward()
            assert torch.equal(loss, bare)
            for gradient, parameter in zip(gradients, network.parameters(), strict=True):
                assert (gradient is None) == (parameter.grad is None)
                assert gradient is None or torch.equal(gradient, parameter.grad)
    hooks = [
        (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
        for module in network.modules()
    ]
    assert not any(map(any, hooks))
    table = probes.tables().get("blocks")
    rows = table.to_pylist() if table is not None else []
    again = [row | {"step": 0} for row in rows if row["step"] == 1]
    rows = [row for row in rows if row["step"] == 0]
    assert rows == again  # found by short paths in the second pass's graph
    split = [row for row in rows if row["skip_grad_norm"] is not None]
    null = [row for row in rows[:-1] if row["skip_grad_norm"] is None]
    assert len(split) == SUMS[name]
    assert len(null) == NULL.get(name, 0)
    assert all(row["reason"] for row in null)
    others = [row for row in split if row["elsewhere_grad_norm"] > 1e-12]
    assert len(others) == ELSEWHERE.get(name, 0)
    for row in split:  # the oracle's share is of all that comes to x
        known = ["input_grad_norm", "skip_grad_norm"] + ["skip_share"] * (row not in others)
        mine = [row[column] for column in known]
        norms = [list(one)[: len(known)] for one in expected]
        assert any(mine == pytest.approx(one, rel=1e-9, abs=1e-12) for one in norms), row
    assert_training_is_the_same(network, loss_of)


def assert_training_is_the_same(network, loss_of):
    """Two steps with probes leave the same parameters and buffers as two without, bit for bit."""
    twin = copy.deepcopy(network)
    with Probes(twin) as probes:
        for model, measured in ((network, False), (twin, True)):
            optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
            torch.manual_seed(4)
            for step in range(2):
                optimizer.zero_grad()
                if measured:
                    probes.arm(step, details=step == 1)
                loss_of(model).backward()
                optimizer.step()
    assert len(probes.tables()["layers"]) == 2 * len(probes.layers)
    states = network.state_dict(), twin.state_dict()
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


@transformers
@pytest.mark.parametrize("name", QUICK)
def test_sums_of_networks(name):
    check(name, from_transformers(name))


@pytest.mark.slow
@transformers
@pytest.mark.parametrize("name", [name for name in [*TEXT, *IMAGES] if name not in QUICK])
def test_sums_of_more_networks(name):
    check(name, from_transformers(name))


@transformers
def test_sums_of_a_network_for_sound():
    check("wav2vec2", wav2vec2())


torchvision = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("timm", "diffusers", "torchvision")),
    reason="needs pip install '.[networks]'",
)


@pytest.mark.slow
@torchvision
@pytest.mark.parametrize("name", TIMM)
def test_sums_of_networks_of_timm(name):
    assert has_torchvision()
    check(name, from_timm(name))


@pytest.mark.slow
@torchvision
def test_sums_of_a_unet():
    """Of its blocks' inputs three are used by a long skip too: it is elsewhere."""
    assert has_torchvision()
    check("unet", unet())
