"""Choices by name: found without torch, registered once, and never chosen by accident."""

import subprocess
import sys
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest

from gradflow.config.hydra_bridge import load_run_config, save_run_config
from gradflow.config.networks import ACTIVATIONS, INITIALIZATIONS, NORMS, TASKS, NetworkConfig
from gradflow.config.probes import EveryConfig, InitializationConfig
from gradflow.config.registry import (
    GROUPS,
    Registry,
    classes_of,
    function_of,
    name_of,
    present_name,
    register,
)
from gradflow.config.run import ONLY, RunConfig
from gradflow.config.run_id import flatten, run_id
from gradflow.config.validation import choice
from gradflow.core.errors import GradflowError
from gradflow.data.dataset import load_dataset
from gradflow.data.sets.digits import DigitsConfig
from gradflow.networks import build_network
from gradflow.networks.families.cifar_resnet import CifarResNetConfig
from gradflow.networks.families.imagenet_resnet import ImageNetResNetConfig
from gradflow.networks.families.unet import UNetConfig
from gradflow.records import SCHEMAS
from gradflow.runs.status import ENDED
from gradflow.training.learning_rate import learning_rate
from gradflow.training.optimizers import build_optimizer
from gradflow.training.optimizers.sgd import SGDConfig
from gradflow.training.schedules.constant import ConstantConfig
from gradflow.training.schedules.warmup_cosine import WarmupCosineConfig
from tests.support.configs import small_config

WITHOUT_TORCH = """
import sys
from gradflow.config.networks import ACTIVATIONS, INITIALIZATIONS, NORMS
from gradflow.config.probes import EveryConfig, InitializationConfig
from gradflow.config.registry import GROUPS
from gradflow.records import SCHEMAS
for table in (*GROUPS.values(), ACTIVATIONS, INITIALIZATIONS, NORMS, SCHEMAS):
    assert len(table), table
print([name for name in ("torch", "scipy", "sklearn", "PIL") if name in sys.modules])
"""


def test_all_options_and_schemas_are_known_without_torch():
    found = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("group", GROUPS)
def test_every_choice_of_a_group_has_a_name_and_facts_of_its_own(group):
    for name, (config, function) in GROUPS[group].items():
        assert name_of(config) == name == config.name
        assert group == config.GROUP
        assert callable(function)
        assert all(hasattr(config, fact) for fact in config.FACTS)


@pytest.mark.parametrize("first", ["multi_step", "warmup_cosine"])
def test_columns_are_in_one_order_whatever_was_imported_first(first):
    code = f"""if True:
        import gradflow.training.schedules.{first}
        from gradflow.records import SCHEMAS
        print(*SCHEMAS["runs"].names)"""
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.split() == SCHEMAS["runs"].names


def test_every_family_has_a_task():
    for family in classes_of("network"):
        assert issubclass(family, NetworkConfig)
        assert family.TASK in TASKS


def test_the_states_that_are_done_again_are_not_those_that_ended():
    assert not {state for states in ONLY.values() for state in states} & set(ENDED)


def test_a_table_fills_itself_when_it_is_read():
    table = Registry("norm", "gradflow.networks.norms")
    assert table._values == {}
    with pytest.raises(KeyError):
        table["no such norm"]
    assert table._is_loaded


def test_a_table_whose_file_is_broken_says_so_each_time():
    table = Registry("thing", "gradflow.no_such_module")
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="no_such_module"):
            len(table)


@pytest.mark.parametrize("table", [NORMS, ACTIVATIONS, INITIALIZATIONS, TASKS, GROUPS["network"]])
def test_a_name_is_registered_once(table):
    taken = next(iter(table))
    with pytest.raises(GradflowError, match=f"{table.kind}={taken}: is registered already"):
        table.add(taken, table[taken])


def test_a_family_that_names_no_task_is_refused():
    @dataclass(frozen=True)
    class Bare(NetworkConfig):
        name: str = choice("bare")

    with pytest.raises(GradflowError, match="Bare: declares no TASK"):
        register(Bare)


def test_a_choice_without_a_name_is_refused():
    @dataclass(frozen=True)
    class Nameless(NetworkConfig):
        TASK: ClassVar[str] = "classify"

    with pytest.raises(GradflowError, match="Nameless: declares no name"):
        register(Nameless)(lambda *_: None)
    assert Nameless not in classes_of("network")


class Unregistered:
    """Subclasses that inherit a registered name, but are not registered themselves."""

    @dataclass(frozen=True)
    class Data(DigitsConfig):
        pass

    @dataclass(frozen=True)
    class Network(CifarResNetConfig):
        pass

    @dataclass(frozen=True)
    class Optimizer(SGDConfig):
        pass

    @dataclass(frozen=True)
    class Schedule(ConstantConfig):
        pass


def test_nobody_stands_in_for_a_class_that_was_not_registered(tmp_path):
    """A new data class that nobody decodes must not train on the digits."""
    network = build_network("mlp", image_shape=(1, 8, 8))
    uses = {
        Unregistered.Data: lambda config: load_dataset(config, tmp_path),
        Unregistered.Network: lambda config: function_of(config),
        Unregistered.Optimizer: lambda config: build_optimizer(config, network),
        Unregistered.Schedule: lambda config: learning_rate(config, 0.1, 0, 1),
    }
    for kind, use in uses.items():
        told = f"{kind.GROUP}.name={kind.name}: no function is registered for {kind.__name__}"
        with pytest.raises(GradflowError, match=told):
            use(kind())
    assert list(tmp_path.iterdir()) == []


def test_the_block_of_an_imagenet_network_is_that_of_its_depth(tmp_path):
    implied = small_config(tmp_path, network=ImageNetResNetConfig(depth=50))
    given = small_config(tmp_path, network=ImageNetResNetConfig(depth=50, block="bottleneck"))
    assert flatten(implied)["network_block"] == "bottleneck"
    assert run_id(implied, "x") == run_id(given, "x")
    assert replace(implied.network, depth=34).block_name() == "basic"  # as a sweep of depths does
    with pytest.raises(GradflowError, match="depth=34 is made of block=basic"):
        replace(given.network, depth=34)


def test_outputs_are_those_of_the_family_unless_given():
    small = {"image_shape": (3, 32, 32), "width": 4}
    assert build_network("imagenet_resnet", **small).head[-1].out_features == 1000
    assert build_network("imagenet_resnet", outputs=7, **small).head[-1].out_features == 7
    assert build_network("cifar_resnet", depth=8, **small).head[-1].out_features == 10


def test_gates_in_a_u_net_work_on_a_projection():
    assert UNetConfig(shortcut="exclusive_gate").path().project == "to fit"
    assert CifarResNetConfig(shortcut="exclusive_gate").path().project == "never"


# run_id(config, "x") of configs as records on disk have them: a changed default or column would
# make every earlier run another one.
IDS = {
    "network": {
        "cifar_resnet": "6dee48a95c99",
        "diffusion_unet": "6df81ea7dcdf",
        "imagenet_resnet": "f7b098ce4f92",
        "mlp": "d1242354b60f",
        "transformer": "9e90de26706a",
        "unet": "946f3edc68aa",
    },
    "data": {"cifar10": "ee24150c8b16", "digits": "6dee48a95c99"},
    "optimizer": {
        "adamw": "bad2e61f8171",
        "muon": "b06f87e82d6d",
        "normalized": "f4f5ba1d7b99",
        "sgd": "6dee48a95c99",
    },
    "schedule": {
        "constant": "ae2ae74e215d",
        "cosine": "9507be4fa26a",
        "multi_step": "fc1eaff5330d",
        "warmup_cosine": "6dee48a95c99",
    },
}


@pytest.mark.parametrize(("group", "name"), [(g, n) for g, names in IDS.items() for n in names])
def test_ids_of_default_configs_stay(group, name):
    default = RunConfig(
        network=CifarResNetConfig(),
        data=DigitsConfig(),
        optimizer=SGDConfig(),
        schedule=WarmupCosineConfig(),
        probe=EveryConfig(),
        details=InitializationConfig(),
    )
    config = replace(default, **{group: GROUPS[group][name].config()})
    assert run_id(config, "x") == IDS[group][name]


def test_a_run_saved_under_a_choices_earlier_name_is_the_same_run(tmp_path):
    config = RunConfig(
        network=CifarResNetConfig(),
        data=DigitsConfig(),
        optimizer=SGDConfig(),
        schedule=WarmupCosineConfig(rise=0.4),
        probe=EveryConfig(),
        details=InitializationConfig(),
    )
    path = tmp_path / "config.yaml"
    save_run_config(config, path)
    now = load_run_config(path)
    older = path.read_text().replace("name: warmup_cosine", "name: one_cycle")
    path.write_text(older.partition("\n")[2])  # and without a digest, as it was
    before = load_run_config(path)
    assert now == before
    assert before.schedule == config.schedule
    assert run_id(before, "x") == run_id(config, "x")
    assert flatten(config)["schedule_name"] == "one_cycle"
    assert present_name("schedule", "warmup_cosine") == "warmup_cosine"
    assert present_name("schedule", "two_cycles") == "two_cycles"
