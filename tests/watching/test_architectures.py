"""Tiny networks that others and we wrote, twelve and timm's: three lines to figure and page."""

import importlib.util

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gradflow
from benchmarks.gpt import GPT
from gradflow import build_network
from gradflow.analysis.report.run_page import make_run_page
from gradflow.analysis.watched import load_run
from tests.support.real_networks import from_timm, from_transformers

OURS = {
    "mlp": {"depth": 6, "width": 8},
    "cifar_resnet": {"depth": 8, "width": 4},
    "transformer": {"depth": 6, "width": 8, "heads": 2},
    "unet": {"width": 4},
}


def ours(name):
    network = build_network(name, image_shape=(1, 8, 8), **OURS[name])
    images = torch.randn(4, 1, 8, 8)
    return network, lambda model: model(images).square().mean()


def gpt():
    torch.manual_seed(0)
    tokens = torch.randint(16, (2, 9))
    model = GPT(layers=48, width=8, tokens=16, context=8)
    return model, lambda m: F.cross_entropy(
        m(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten()
    )


TRANSFORMERS = ("gpt2", "llama", "bert", "t5", "vit", "resnet", "convnextv2")
QUICK = ("mlp", "gpt2", "vit_tiny_patch16_224")
NETWORKS = [
    pytest.param(gpt, (), id="hand-written GPT of 48 blocks"),
    *(
        pytest.param(make, (name,), id=name, marks=() if name in QUICK else pytest.mark.slow)
        for make, names in (
            (ours, OURS),
            (from_transformers, TRANSFORMERS),
            (
                from_timm,
                ("vit_tiny_patch16_224", "resnet10t", "convnext_atto", "mobilenetv3_small_050"),
            ),
        )
        for name in names
    ),
]


def trained(model: nn.Module, loss_of, folder):
    """A loop as it is written, and three lines."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    with gradflow.watch(model, folder, every=1) as watch:  # 1
        for _ in range(3):
            loss = loss_of(model)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            watch.step(loss)  # 2
    return watch.plot()  # 3


@pytest.mark.parametrize(("make", "arguments"), NETWORKS)
@pytest.mark.filterwarnings("ignore")  # of the packages themselves
def test_three_lines_to_a_figure_and_a_page(make, arguments, tmp_path):
    needed = {from_timm: ("timm", "torchvision"), from_transformers: ("transformers",)}
    for package in needed.get(make, ()):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install -e '.[networks]'")
    model, loss_of = make(*arguments)
    figure = trained(model, loss_of, tmp_path / "a")
    run = load_run(tmp_path / "a")
    assert run.layers.step.unique().tolist() == [0, 1, 2]
    assert run.blocks.skip_share.notna().any()
    assert len(figure.axes) == 9
    assert make_run_page(tmp_path / "a")[-1].exists()
    assert [a for a in run.alerts.kind if a in ("non_finite", "missing_skip", "stream")] == []
