"""What a config says of a diagnosis before the training is what the diagnosis says after it."""

from collections.abc import Iterable
from dataclasses import replace
from functools import cache

import pytest
import torch

from gradflow.config.needs import LACKING
from gradflow.config.registry import GROUPS, function_of
from gradflow.core.errors import GradflowError
from gradflow.data.sets.text import TextConfig
from gradflow.diagnostics.curvature import CurvatureConfig
from gradflow.diagnostics.identity import IdentityConfig
from gradflow.diagnostics.jacobian import JacobianConfig
from gradflow.diagnostics.landscape import LandscapeConfig
from gradflow.diagnostics.lesion import LesionConfig
from gradflow.diagnostics.paths import PathsConfig
from gradflow.diagnostics.shattering import ShatteringConfig
from gradflow.networks.build import make_network
from gradflow.runs.execute import execute
from gradflow.runs.planning import plan_study
from gradflow.training.frozen import Frozen
from gradflow.training.tasks import task_of
from tests.support.configs import small_config

ATTENTION = {"depth": 6, "width": 4, "heads": 1}
NETWORKS = {
    "resnet": ("cifar_resnet", {"depth": 8, "width": 2}),
    "gated": ("cifar_resnet", {"depth": 8, "width": 2, "shortcut": "shortcut_gate"}),
    "mlp": ("mlp", {"depth": 6, "width": 4}),
    "unet": ("unet", {"depth": 12, "width": 2}),
    "gated unet": ("unet", {"depth": 12, "width": 2, "shortcut": "exclusive_gate"}),
    "transformer": ("transformer", {**ATTENTION, "patch": 4}),
    **{
        connection: ("transformer", {**ATTENTION, "patch": 4, "connection": connection})
        for connection in ("highway", "value_residual", "hyper", "attention_residual", "dense")
    },
    "tokens": ("language_model", ATTENTION),
    "custom": ("custom", {"builder": "tests.support.builders:outside", "depth": 4}),
}
DIAGNOSTICS = {
    "curvature": CurvatureConfig(images=2, vectors=2),
    "identity": IdentityConfig(images=2),
    "jacobian": JacobianConfig(images=2, examples=1, exact_up_to=1, values=1),
    "landscape": LandscapeConfig(images=2, line=3, plane=3),
    "lesion": LesionConfig(images=2, samples=1),
    "paths": PathsConfig(images=2, samples=1),
    "shattering": ShatteringConfig(images=2, points=8),
}


@cache
def frozen(name):
    family, options = NETWORKS[name]
    config = GROUPS["network"][family].config(**options)
    draw = torch.Generator().manual_seed(0)
    examples = torch.randn(2, 1, 8, 8, dtype=torch.float64, generator=draw)
    if name == "tokens":
        examples = torch.randint(5, (2, 6), generator=draw)
    network = make_network(config, tuple(examples.shape[1:]), 5, 0).double().eval()
    labels = examples if name == "tokens" else torch.tensor([1, 2])
    return config, Frozen(network, task_of(config), examples, labels, 0)


def refusal(function, *arguments):
    try:
        found = function(*arguments)
        if isinstance(found, Iterable) and not isinstance(found, dict):
            list(found)
    except GradflowError as error:
        return str(error)
    return None


def test_every_diagnostic_is_asked():
    assert {*DIAGNOSTICS, "off"} == {*GROUPS["diagnostic"]}


@pytest.mark.parametrize("diagnostic", DIAGNOSTICS)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_config_refuses_what_the_diagnosis_would(name, diagnostic):
    asked = DIAGNOSTICS[diagnostic]
    config, network = frozen(name)
    lacking = (*config.lacks(), *(["gradient by the input"] if name == "tokens" else []))
    before = refusal(asked.check_needs, lacking)
    after = refusal(function_of(asked), network, asked, *([set()] if asked.PART else []))
    if before is None:
        assert after is None
    else:
        assert before == f"diagnostic.name={diagnostic}: {after}"
        assert after in LACKING.values()


def test_nothing_is_trained_if_the_diagnosis_could_not_be_made(tmp_path):
    config = replace(
        small_config(tmp_path, network=GROUPS["network"]["language_model"].config(**ATTENTION)),
        data=TextConfig(batch_size=8, context=8),
        diagnostic=DIAGNOSTICS["jacobian"],
    )
    line = "diagnostic.name=jacobian: tokens have no derivative by the input"
    with pytest.raises(GradflowError, match=line):
        execute(config)
    gated = small_config(
        tmp_path,
        network=GROUPS["network"]["cifar_resnet"].config(**NETWORKS["gated"][1]),
        diagnostic=DIAGNOSTICS["paths"],
    )
    fitting = small_config(tmp_path, diagnostic=DIAGNOSTICS["paths"])
    with pytest.raises(GradflowError, match=r"diagnostic\.name=paths: a block's gate weighs"):
        plan_study([fitting, gated])
    assert not list(tmp_path.glob("*/*/config.yaml"))
