"""Plugins: imported because they are named, part of a run's identity, refused in one line."""

import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import gradflow
from gradflow.config.blocks import BLOCKS, Layer
from gradflow.config.hydra_bridge import load_run_config, save_run_config
from gradflow.config.networks import NORMS, TASKS
from gradflow.config.plugins import codes_of, load_plugins
from gradflow.config.plugins_named import plugins_named
from gradflow.config.registry import GROUPS
from gradflow.config.run_id import flatten, run_id
from gradflow.config.saved import command_of
from gradflow.core.errors import GradflowError
from gradflow.networks import build_network
from gradflow.networks.families.cifar_resnet import CifarResNetConfig
from gradflow.networks.layers import Scale
from gradflow.records import read_records, read_runs
from gradflow.runs.execute import execute
from tests.support.configs import small_config
from tests.support.doors import ROOT, command, files_below
from tests.support.plugins import NORM, forgotten
from tests.support.toy_files import FAMILY


@pytest.fixture(autouse=True)
def _forgotten():
    with forgotten():
        yield


@pytest.fixture
def norm(tmp_path) -> Path:
    path = tmp_path / "norm.py"
    path.write_text(NORM)
    return path


def test_a_norm_of_a_file_outside_trains_and_is_recorded(tmp_path, norm):
    load_plugins([str(norm)])
    network = CifarResNetConfig(depth=8, width=4, norm="halving")
    config = small_config(tmp_path, network=network, plugins=(str(norm),))
    result = execute(config)
    assert result.status == "finished"
    assert load_run_config(result.folder / "config.yaml").network == network
    [row] = read_records(result.folder, "runs").to_dict("records")
    assert row["network_norm"] == "halving"
    assert row["plugins"] == f'["{codes_of([str(norm)])[0]}"]'


@pytest.mark.parametrize("family", ["transformer", "language_model"])
def test_a_transformer_takes_a_norm_of_a_plugin_for_its_tokens(norm, family):
    options = {"depth": 6, "width": 8, "heads": 2, "qk_norm": True}
    with pytest.raises(GradflowError, match=r"norm=halving: choose one of layer, rms, dyt, none$"):
        build_network(family, image_shape=(1, 1, 8), **options, norm="halving")
    load_plugins([str(norm)])
    shape = (1, 1, 8) if family == "language_model" else (1, 8, 8)
    network = build_network(family, image_shape=shape, **options, norm="halving")
    normed = network.blocks[0].branch
    assert [type(normed.norm1), type(normed.attention.norms["q"])] == [Scale, Scale]
    example = torch.randint(10, (2, 8)) if family == "language_model" else torch.randn(2, *shape)
    assert network(example).isfinite().all()
    with pytest.raises(GradflowError, match="choose one of layer, rms, dyt, none, halving"):
        build_network(family, image_shape=shape, **options, norm="batch")


def test_the_id_of_a_run_without_plugins_stays(tmp_path):
    config = small_config(tmp_path)
    assert run_id(config, "x") == "8bd811cebb5c"
    assert "plugins" not in flatten(config)


def test_the_id_has_the_code_of_a_plugin_and_not_its_place(tmp_path):
    def id_of(folder: str, text: str) -> str:
        path = tmp_path / folder / "norm.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        with forgotten():
            return run_id(small_config(tmp_path, plugins=(str(path),)), "x")

    first = id_of("a", NORM)
    assert first != run_id(small_config(tmp_path), "x")
    assert id_of("b", NORM) == first
    assert id_of("c", NORM.replace("Half of x", "x / 2") + "\n# why\n") == first
    assert id_of("a", NORM.replace("0.5", "0.25")) != first


def test_an_edited_plugin_is_another_run_and_the_ended_one_is_not_taken_for_it(tmp_path, norm):
    from gradflow.runs.planning import ended_config

    with forgotten():
        folder = execute(small_config(tmp_path, plugins=(str(norm),), steps=2)).folder
    norm.write_text(NORM.replace("0.5", "0.25"))
    with pytest.raises(GradflowError, match=r"plugins is .*norm.py\+.* but the run was made with"):
        ended_config(folder)


def test_a_plugin_is_a_module_or_an_entry_point(tmp_path, monkeypatch):
    package = tmp_path / "toy_plugin"
    package.mkdir()
    (package / "__init__.py").write_text("from toy_plugin import norms\n")
    (package / "norms.py").write_text(NORM)
    info = tmp_path / "toy-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[gradflow.plugins]\nmy_norms = toy_plugin\n")
    monkeypatch.syspath_prepend(tmp_path)
    names = []
    for name in ("toy_plugin", "toy_plugin.norms", "my_norms"):
        assert "halving" not in NORMS  # an entry point that nobody names is not imported
        with forgotten():
            names += codes_of([name])
            assert "halving" in NORMS
    assert names[0] == names[2] != names[1]
    before = names[0]
    (package / "norms.py").write_text(NORM.replace("0.5", "0.25"))
    assert codes_of(["toy_plugin"]) != [before]  # all files of a package


def test_a_module_that_was_imported_before_is_a_plugin_too(tmp_path, monkeypatch):
    (tmp_path / "toy_plugin.py").write_text(NORM)
    monkeypatch.syspath_prepend(tmp_path)
    __import__("toy_plugin")
    assert load_plugins(["toy_plugin"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "no such file"),
        ("import gradflow.nowhere", r"cannot be imported \(ModuleNotFoundError: No module"),
        ("def f(:", r"cannot be imported \(SyntaxError"),
        ("import sys; sys.exit(3)", r"cannot be imported \(SystemExit: 3\)"),
        ("x = 1", r"registers nothing; write @gradflow.register\("),
        (NORM.replace("halving", "batch"), "norm=batch: is registered already; choose another"),
        (NORM + NORM, "norm=halving: is registered already"),
        (NORM.replace('"norm"', '"norms"'), r"register\(norms\): takes a config class, or one of"),
        (NORM.replace('"halving"', '""'), r"register\(norm, \): needs a name, such as my_norm"),
        (
            "from torch import nn\nimport gradflow\ngradflow.register(nn.Linear)",
            "register.*takes a",
        ),
    ],
)
def test_what_is_no_plugin_is_one_line_before_anything_is_trained(tmp_path, text, told):
    path = tmp_path / "plugin.py"
    if text is not None:
        path.write_text(text)
    root = tmp_path / "outputs"
    before = list(NORMS)
    ended = command("train", f"plugins=[{path}]", f"output_root={root}")
    assert ended.traceback is None
    assert ended.refused is not None
    assert "\n" not in ended.refused
    with pytest.raises(GradflowError, match=rf"plugins=.*plugin.py: {told}"):
        load_plugins([str(path)])
    assert ended.refused.startswith(f"error: plugins={path}: ")
    assert list(NORMS) == before
    assert not root.exists() or not files_below(root)


@pytest.mark.parametrize("value", ["norm.py", "3", "[3]", "[a.py],[b.py]"])
def test_plugins_are_a_list(tmp_path, value):
    ended = command("train", f"plugins={value}", f"output_root={tmp_path}")
    assert ended.refused is not None
    assert ended.refused.endswith("must be a list, such as [my/norms.py]")


def test_every_command_knows_the_choices_of_plugins(tmp_path, norm, capsys):
    words = [f"plugins=[{norm}]", "network.norm=halving"]
    [config] = command("train", *words, f"output_root={tmp_path}").accepted
    assert config.network.norm == "halving"
    swept = command("train", "-m", *words, "seed=0,1", f"output_root={tmp_path}").accepted
    assert [c.plugins for c in swept] == [(str(norm),)] * 2
    assert command("describe", *words).refused is None
    folder = execute(replace(config, steps=2)).folder
    with forgotten():
        ended = command("diagnose", f"run={folder}", "diagnostic=lesion", "diagnostic.images=9")
        assert (ended.refused, ended.traceback) == (None, None)


def test_a_study_and_a_run_name_their_plugins_in_their_files(tmp_path, norm, monkeypatch):
    (tmp_path / "mine.yaml").write_text("plugins: [a.py]\n")
    monkeypatch.setattr("gradflow.config.plugins_named.STUDIES", tmp_path)
    assert plugins_named(["train.py", "-m", "study=mine", "plugins=[b.py]"]) == ["a.py", "b.py"]
    path = tmp_path / "config.yaml"
    save_run_config(small_config(tmp_path, plugins=(str(norm),)), path)
    for words in (
        ["--config-path", str(tmp_path), "--config-name", "config"],
        [f"--config-path={tmp_path}", "steps=3"],
        ["-cp", str(tmp_path), "-cn", "config"],
    ):
        assert plugins_named(["train.py", *words]) == [str(norm)]
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "own.yaml").write_text("plugins: [c.py]\n")
    for words in (["--config-dir", str(tmp_path)], [f"--config-dir={tmp_path}"]):
        assert plugins_named(["train.py", *words, "study=own"]) == ["c.py"]


def test_the_command_that_repeats_a_run_imports_its_plugins(tmp_path):
    path = write_family(tmp_path / "family.py")
    with forgotten():
        load_plugins([str(path)])
        network = GROUPS["network"]["toy"].config(width=4)
        config = small_config(tmp_path, network=network, plugins=(str(path),), steps=2)
        folder = execute(config).folder
    words = shlex.split(command_of(folder))[2:]
    ended = command("train", *words)
    assert (ended.refused, ended.traceback) == (None, None)
    assert [found.network.name for found in ended.accepted] == ["toy"]


def test_the_door_adds_tasks_and_rows():
    @gradflow.register("task", "toy_task", draws_noise=True)
    def toy_task(network, images, labels, generator, *, each=False): ...

    @gradflow.register("block", "toy_block")
    def toy_block():
        return (Layer(3, 1), Layer(3, 1), Layer(3, 1))

    assert TASKS["toy_task"] == (toy_task, True)
    assert CifarResNetConfig(depth=11, block="toy_block").layers_per_block() == 3
    with pytest.raises(GradflowError, match="block=toy_block: is registered already"):
        gradflow.register("block", "toy_block")(toy_block)
    with pytest.raises(GradflowError, match="placement=mine: is tuple, not Placement"):
        gradflow.register("placement", "mine")(toy_block)
    assert "toy_block" in BLOCKS


def write_family(path: Path) -> Path:
    from textwrap import dedent

    path.write_text(dedent(FAMILY))
    return path


WORKER = """
import pickle, sys
from gradflow.config.plugins import load_plugins
load_plugins([sys.argv[1]])
config = pickle.load(open(sys.argv[2], "rb"))
print(type(config).__name__, config._metadata.object_type.__name__, config.kernel)
"""


def test_a_worker_reads_the_classes_of_a_plugin_that_it_has_imported(tmp_path):
    import cloudpickle
    from omegaconf import OmegaConf

    path = write_family(tmp_path / "family.py")
    load_plugins([str(path)])
    saved = tmp_path / "config.pickle"
    saved.write_bytes(cloudpickle.dumps(OmegaConf.structured(GROUPS["network"]["toy"].config)))
    words = [sys.executable, "-c", WORKER, str(path), str(saved)]
    found = subprocess.run(words, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["DictConfig", "ToyConfig", "5"]


def test_options_of_a_plugin_are_read_without_it(tmp_path):
    path = write_family(tmp_path / "family.py")
    with forgotten():
        load_plugins([str(path)])
        made = GROUPS["network"]["toy"].config
        for kernel in (3, 5):
            network = made(kernel=kernel, width=4)
            config = small_config(tmp_path, network=network, plugins=(str(path),), steps=2)
            folder = execute(config).folder
    assert "toy" not in GROUPS["network"]
    study = folder.parent
    for _ in range(2):  # from the files, then from the index
        assert sorted(read_runs(study).network_kernel) == [3, 5]
    assert read_records(folder, "runs").network_kernel.tolist() == [5]
    from gradflow.analysis.study import load_study

    assert [part.setting for part in load_study(study).split()] == [
        {"network_kernel": 3},
        {"network_kernel": 5},
    ]


@pytest.mark.slow
def test_a_study_of_a_plugin_runs_on_workers(tmp_path):
    path = write_family(tmp_path / "family.py")
    words = [
        *("-m", f"plugins=[{path}]", "network=toy", "network.skip=false,true", "network.width=4"),
        *("steps=4", "evaluation.every=4", f"output_root={tmp_path}", "hydra.launcher.workers=1"),
    ]
    script = str(ROOT / "experiments" / "train.py")
    subprocess.run([sys.executable, script, *words], check=True)
    assert read_runs(tmp_path / "scratch").status.tolist() == ["finished"] * 2
    assert (tmp_path / "scratch" / "report.html").exists()
