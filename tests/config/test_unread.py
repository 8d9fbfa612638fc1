"""An option that nothing reads is refused, not ignored; runs made with it stay readable."""

from dataclasses import replace

import pytest

from gradflow.config.hydra_bridge import load_run_config, save_run_config
from gradflow.config.plugins import load_plugins
from gradflow.config.registry import GROUPS
from gradflow.config.run_id import run_id
from gradflow.config.validation import saved_config
from gradflow.core.errors import GradflowError
from tests.support.configs import small_config
from tests.support.plugins import forgotten

UNREAD = [
    ("cifar_resnet", {"weight_variance": 1}, "initialization=gaussian, not he_fan_out; use 2"),
    ("mlp", {"weight_variance": 1, "initialization": "xavier"}, "by initialization=gaussian"),
    (
        "transformer",
        {"bias_variance": 0.1},
        "by initialization=gaussian, critical, not xavier; use 0",
    ),
    ("mlp", {"branch_scale": 0.5, "scaling": "rezero"}, "by scaling=constant, inverse_sqrt"),
    ("unet", {"gate_bias": 0}, "shortcut=exclusive_gate, shortcut_gate, not B; use -6"),
    ("cifar_resnet", {"gate_bias": 0, "shortcut": "dropout"}, "exclusive_gate, shortcut_gate"),
    ("imagenet_resnet", {"dropout": 0.1}, "network.dropout=0.1: is read by shortcut=dropout"),
    ("cifar_resnet", {"dropout": 0.1, "shortcut": "exclusive_gate"}, "by shortcut=dropout"),
    ("transformer", {"streams": 8}, "hyper, manifold_hyper, not residual; use 4"),
    ("language_model", {"streams": 2, "connection": "reversible"}, "by connection=hyper"),
    (
        "cifar_resnet",
        {"weight_variance": 1, "initialization": "gaussian", "block": "dirac"},
        "weight_variance=1.0: block=dirac divides each filter by its norm; use 2",
    ),
    ("transformer", {"norm": "none", "placement": "sandwich"}, "placement=sandwich places norms"),
    ("mlp", {"placement": "norm_after_addition"}, "is the same network as original without a norm"),
    (
        "cifar_resnet",
        {"placement": "activation_only_preactivation", "norm": "none"},
        "is the same network as full_preactivation without a norm",
    ),
    ("mlp", {"initialization": "fixup", "zero_last": True}, "of a branch at 0; use false"),
    ("diffusion_unet", {"block": "single", "zero_last": True}, "use basic to start at 0"),
    (
        "diffusion_unet",
        {"block": "single", "initialization": "fixup", "norm": "none", "placement": "original"},
        "use basic to start at 0",
    ),
    ("cifar_resnet", {"block": "repvgg", "bias": True}, "biases in its batch norms; use false"),
    (
        "custom",
        {"builder": "tests.support.builders:own", "initialization": "default", "bias_variance": 1},
        "is read by initialization=gaussian, critical",
    ),
]

READ = [
    ("mlp", {"weight_variance": 1, "bias_variance": 0.1, "initialization": "gaussian"}),
    ("mlp", {"bias_variance": 0.1, "initialization": "critical", "activation": "tanh"}),
    ("mlp", {"branch_scale": 0.5, "scaling": "layer_scale"}),
    ("unet", {"gate_bias": 0, "shortcut": "shortcut_gate"}),
    ("cifar_resnet", {"dropout": 0.1, "shortcut": "dropout"}),
    ("transformer", {"streams": 8, "connection": "hyper"}),
    ("mlp", {"placement": "norm_after_addition", "norm": "batch"}),
    ("diffusion_unet", {"block": "single", "zero_last": True, "placement": "original"}),
]


@pytest.mark.parametrize(("family", "options", "line"), UNREAD)
def test_an_option_that_nothing_reads_is_refused(family, options, line):
    make = GROUPS["network"][family].config
    with pytest.raises(GradflowError, match=line):
        make(**options)
    with saved_config():
        assert make(**options).name == family  # as it was, for what is recorded of it


@pytest.mark.parametrize(("family", "options"), READ)
def test_an_option_that_is_read_is_taken(family, options):
    GROUPS["network"][family].config(**options)


def test_a_run_that_was_made_with_it_is_read_and_has_its_id(tmp_path):
    with saved_config():
        config = small_config(tmp_path)
        config = replace(config, network=replace(config.network, gate_bias=0.0))
    path = tmp_path / run_id(config, "x") / "config.yaml"
    path.parent.mkdir()
    save_run_config(config, path)
    before = load_run_config(path)
    assert before.network == config.network
    assert run_id(before, "x") == run_id(config, "x")
    with pytest.raises(GradflowError, match="gate_bias"):  # of a new run
        replace(before.network, width=8)


def test_an_initialization_of_a_plugin_may_read_either_variance(tmp_path):
    path = tmp_path / "drawn.py"
    path.write_text(
        "import gradflow\n"
        "@gradflow.register('initialization', 'theirs')\n"
        "def theirs(layer):\n"
        "    layer.weight.fill_(layer.config.weight_variance + layer.config.bias_variance)\n"
    )
    options = {"initialization": "theirs", "weight_variance": 1, "bias_variance": 1}
    with forgotten():
        load_plugins([str(path)])
        assert GROUPS["network"]["mlp"].config(**options).weight_variance == 1
