"""The door: every config file composes, every mistake is one line that tells what is valid."""

import re
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st

from gradflow.config.hydra_bridge import (
    load_run_config,
    register_schema,
    save_run_config,
    to_config,
)
from gradflow.config.run import RunConfig, StudyConfig
from gradflow.config.run_id import run_id
from gradflow.core.errors import GradflowError
from gradflow.data.sets.digits import DigitsConfig
from gradflow.networks.families.cifar_resnet import CifarResNetConfig
from gradflow.training.optimizers.sgd import SGDConfig
from tests.support.configs import small_config
from tests.support.doors import command

CONF = Path(__file__).parents[2] / "conf"
GROUPS = ("network", "data", "optimizer", "schedule", "probe", "details", "study")


def composed(*overrides):
    register_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return to_config(compose("run", overrides=list(overrides)), RunConfig)


@pytest.mark.parametrize(
    "choice",
    [f"{group}={file.stem}" for group in GROUPS for file in sorted((CONF / group).glob("*.yaml"))],
)
def test_every_config_file_composes(choice):
    group, name = choice.split("=")
    written = (CONF / group / f"{name}.yaml").read_text()
    schema = re.search(r"schema_(\w+)", written)
    config = composed(choice)
    assert getattr(config, group).name == (schema[1] if schema else name)


def test_yaml_and_schema_have_the_same_defaults():
    """Two homes for one number: they must not drift apart. The width is the one exception."""
    config = composed()
    assert config.data == DigitsConfig()
    assert config.optimizer == SGDConfig()
    assert config.network == replace(CifarResNetConfig(), width=8)
    plain = type(config)(
        network=config.network,
        data=config.data,
        optimizer=config.optimizer,
        schedule=type(config.schedule)(),
        probe=type(config.probe)(),
        details=type(config.details)(),
    )
    assert run_id(config, "x") == run_id(plain, "x")


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("network.depth=9", "network.depth=9: depth must be 6n+2; the nearest are 8 and 14"),
        ("network.depth=2", "network.depth=2: must be >= 8"),
        ("network.norm=bacth", "network.norm=bacth: choose one of batch, none, layer"),
        ("network.width=0", "network.width=0: must be >= 1"),
        ("optimizer.learning_rate=-0.1", "optimizer.learning_rate=-0.1: must be > 0"),
        ("optimizer.learning_rate=nan", "optimizer.learning_rate=nan: must be > 0"),
        ("optimizer.momentum=1", "optimizer.momentum=1.0: must be < 1"),
        ("steps=0", "steps=0: must be >= 1"),
        ("data.subset=3", "data.subset=3: must be >= data.batch_size=64"),
        ("study.name=a/b", "study.name=a/b: must be a plain folder name"),
        (
            "+network.detph=8",
            "network.detph: no such key; did you mean depth? valid here: ",
        ),
        ("+stpes=8", "stpes: no such key; did you mean steps?"),
        ("+optimizer.beta1=0.5", "optimizer.beta1: no such key; valid here: clip_norm"),
        ("probe.name=sometimes", "probe.name=sometimes: choose one of every, log_spaced, listed"),
    ],
)
def test_a_mistake_is_told_in_one_line(override, told):
    with pytest.raises(GradflowError) as error:
        composed(override)
    assert str(error.value).startswith(told)
    assert "\n" not in str(error.value)


@given(st.integers(8, 3000))
def test_a_depth_is_valid_or_its_neighbours_are_named(depth):
    if depth % 6 == 2:
        assert CifarResNetConfig(depth=depth).depth == depth
        return
    below = max(d for d in range(2, depth, 6))
    with pytest.raises(GradflowError, match=f"nearest are {below} and {below + 6} with"):
        CifarResNetConfig(depth=depth)


def test_a_depth_that_does_not_fit_in_a_sweep_of_blocks_names_the_block(tmp_path):
    swept = ["network.block=single,basic,triple", "network.depth=14", f"output_root={tmp_path}"]
    told = "network.depth=14: depth must be 9n+2; the nearest are 11 and 20 with block=triple"
    assert told in command("train", "-m", *swept).refused
    for block in ("single", "basic", "triple"):
        assert CifarResNetConfig(block=block, depth=20).layers_per_block() in (1, 2, 3)


def test_a_config_is_frozen(tmp_path):
    with pytest.raises(FrozenInstanceError):
        small_config(tmp_path).steps = 3


def test_identity_is_what_changes_a_number(tmp_path):
    config = small_config(tmp_path)
    same = replace(config, output_root="elsewhere", study=StudyConfig(name="other"))
    assert run_id(config, "data") == run_id(same, "data")
    others = [
        replace(config, seed=1),
        replace(config, threads=config.threads + 1),
        replace(config, dtype="float64"),
        replace(config, network=replace(config.network, skip=False)),
        replace(config, probe=replace(config.probe, every=7)),
        replace(config, data=replace(config.data, batch_size=16)),
    ]
    ids = {run_id(other, "data") for other in others} | {run_id(config, "other data")}
    assert len(ids) == len(others) + 1
    assert run_id(config, "data") not in ids


def test_a_saved_config_is_read_back_equal(tmp_path):
    config = composed("schedule=multi_step", "data=cifar10", "optimizer=adamw")
    save_run_config(config, tmp_path / "config.yaml")
    assert load_run_config(tmp_path / "config.yaml") == config
