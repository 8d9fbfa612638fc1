"""What an addition touches: each is put where a contributor would put it, and runs at once.

A toy file is found in its folder like any other, chosen by name on the command line, trained or
measured by `execute`, and its options and tables are in the records. No other file knows of it.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from gradflow.config import RunConfig
from gradflow.config.blocks import BLOCKS, PLACEMENTS, Layer, Placement
from gradflow.config.conf_folder import CONF
from gradflow.config.hydra_bridge import load_run_config, register_schema, to_config
from gradflow.config.networks import NORMS, TASKS
from gradflow.config.registry import GROUPS, Registry
from gradflow.core.errors import GradflowError
from gradflow.networks.describe import describe
from gradflow.records import SCHEMAS, read_records
from gradflow.runs.execute import execute
from tests.support.toy_files import DATA, DIAGNOSTIC, FAMILY, OPTIMIZER, SCHEDULE

Add = Callable[[Registry, str], None]


@pytest.fixture
def add(tmp_path: Path) -> Iterator[Add]:
    """Puts a file toy.py in the folder that fills a table; the folder is as it was afterwards."""
    with ExitStack() as after:
        yield lambda table, text: after.enter_context(_added(table, text, tmp_path))


@contextmanager
def _added(table: Registry, text: str, tmp_path: Path) -> Iterator[None]:
    folder = tmp_path / table.kind
    folder.mkdir()
    (folder / "toy.py").write_text(dedent(text))
    package = importlib.import_module(table.home)
    package.__path__.append(str(folder))
    table._is_loaded = False  # as in a process that begins
    try:
        yield
    finally:
        package.__path__.remove(str(folder))
        del sys.modules[f"{table.home}.toy"]
        del package.toy
        table.remove("toy")


def composed(root: Path, *overrides: str) -> RunConfig:
    """The config of a command, as experiments/train.py has it."""
    small = ["network.width=4", "steps=4", "evaluation.every=4", f"output_root={root}"]
    if not any(word.startswith("network=") for word in overrides):
        small.append("network.depth=8")
    register_schema()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return to_config(compose("run", overrides=[*small, *overrides]), RunConfig)


def trained(root: Path, *overrides: str) -> Path:
    """The folder of a run of that command, which was finished and can be loaded again."""
    config = composed(root, *overrides)
    result = execute(config)
    assert result.status == "finished"
    assert load_run_config(result.folder / "config.yaml") == config
    assert len(read_records(result.folder, "steps")) == 4
    return result.folder


def test_a_family_is_one_file(tmp_path, add):
    add(GROUPS["network"], FAMILY)
    folders = [
        trained(tmp_path, "network=toy", "network.kernel=3", f"network.skip={skip}")
        for skip in ("true", "false")
    ]
    [row] = read_records(folders[0], "runs").to_dict("records")
    assert (row["network_name"], row["network_kernel"], row["network_depth"]) == ("toy", 3, 4)
    assert len(set(read_records(folders[0], "blocks").block_index)) == 2 + 1
    first = [read_records(f, "layers").query("step == 0").weight_norm.tolist() for f in folders]
    assert first[0] == first[1]  # twins


def test_a_family_is_built_and_described_by_name(add):
    from gradflow import build_network

    add(GROUPS["network"], FAMILY)
    table = describe(build_network("toy", image_shape=(1, 8, 8), width=2), (1, 8, 8))
    assert list(table.macs[table.macs > 0]) == [64 * 25 * 2, 64 * 25 * 4, 64 * 25 * 4, 128 * 10]
    with pytest.raises(GradflowError, match="toy: choose one of|kernle: no option of toy; valid"):
        build_network("toy", kernle=3)


def test_a_data_set_is_one_file(tmp_path, add):
    add(GROUPS["data"], DATA)
    folder = trained(tmp_path, "data=toy", "data.batch_size=16")
    [row] = read_records(folder, "runs").to_dict("records")
    assert (row["data_name"], row["data_side"]) == ("toy", 6)
    assert (tmp_path / ".cache" / "toy-6.npz").exists()
    # Two outputs, one per class: 4 channels of the first stage, four times as many of the last.
    last = describe(_network_of(folder), (1, 6, 6)).iloc[-1]
    assert last.output == "2"


def _network_of(folder: Path):
    from gradflow.training.tasks import network_of

    return network_of(load_run_config(folder / "config.yaml"), (1, 6, 6), 2)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("classes=2", "classes=1"), "train_labels holds 1; it declares 1 classes"),
        (
            ("        return arrays", "        arrays.pop('test_labels'); return arrays"),
            "needs test_",
        ),
        (('"train", 128', '"train", 0'), r"train_labels is uint8 \[0\] beside 0 images"),
        (("images = np.where", "images = 1.0 * np.where"), r"train_images is float64 \[128, 1, 6"),
    ],
)
def test_a_data_set_that_is_not_what_it_says_is_refused(tmp_path, add, change, told):
    add(GROUPS["data"], DATA.replace(*change))
    with pytest.raises(GradflowError, match=told):
        execute(composed(tmp_path, "data=toy"))
    assert not list(tmp_path.glob("scratch/*"))


def test_an_optimizer_is_one_file(tmp_path, add):
    add(GROUPS["optimizer"], OPTIMIZER)
    folder = trained(tmp_path, "optimizer=toy", "optimizer.largest_step=0.05")
    assert read_records(folder, "runs").optimizer_largest_step.tolist() == [0.05]
    assert (read_records(folder, "layers").update_norm > 0).all()


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ("    return None", "built NoneType, which is no torch.optim.Optimizer"),
        ("    return torch.optim.SGD(parameters[1:])", "updates 22 of the network's 23 tensors"),
    ],
)
def test_an_optimizer_of_something_else_is_refused(tmp_path, add, made, told):
    start = OPTIMIZER.index("        return torch")
    add(GROUPS["optimizer"], OPTIMIZER[:start] + "    " + made)
    with pytest.raises(GradflowError, match=f"optimizer.name=toy: {told}"):
        execute(composed(tmp_path, "optimizer=toy"))


def test_a_schedule_is_one_file(tmp_path, add):
    add(GROUPS["schedule"], SCHEDULE)
    folder = trained(tmp_path, "schedule=toy", "schedule.last_share=0.1", "steps=4")
    rates = read_records(folder, "steps").learning_rate
    np.testing.assert_allclose(rates, np.linspace(0.05, 0.005, 4), rtol=1e-6)  # float32
    assert read_records(folder, "runs").schedule_last_share.tolist() == [0.1]


def test_a_schedule_that_is_not_finite_is_refused(tmp_path, add):
    add(GROUPS["schedule"], SCHEDULE.replace("return peak", "return float('nan') * peak"))
    with pytest.raises(GradflowError, match="schedule.name=toy: gives a learning rate of nan"):
        execute(composed(tmp_path, "schedule=toy"))


def test_a_diagnostic_is_one_file(tmp_path, add):
    add(GROUPS["diagnostic"], DIAGNOSTIC)
    folder = trained(tmp_path, "diagnostic=toy", "diagnostic.at=both", "diagnostic.above=1e-9")
    rows = read_records(folder, "large_weights")
    assert rows.step.value_counts().to_dict() == {0: 8, 4: 8}  # stem, six in blocks, head
    assert (rows.share == 1).all()
    assert rows["shape"].iloc[0].tolist() == [4, 1, 3, 3]
    assert read_records(folder, "diagnoses").name.tolist() == ["toy", "toy"]


def test_rows_that_a_diagnostic_does_not_declare_are_refused(tmp_path, add):
    add(GROUPS["diagnostic"], DIAGNOSTIC.replace('"share": [float', '"shares": [float'))
    with pytest.raises(GradflowError, match="table large_weights: missing or undeclared share"):
        trained(tmp_path, "diagnostic=toy")


def test_a_table_of_another_diagnostic_is_refused(add):
    add(GROUPS["diagnostic"], DIAGNOSTIC.replace("large_weights", "landscape"))
    with pytest.raises(GradflowError, match="the table landscape is declared already"):
        len(SCHEMAS)


def test_a_placement_is_one_row(tmp_path, monkeypatch):
    monkeypatch.setitem(PLACEMENTS, "toy", Placement("can", "can", ""))
    folder = trained(tmp_path, "network.placement=toy")
    assert read_records(folder, "runs").network_placement.tolist() == ["toy"]
    network = _network_of(folder)
    names = [name for name, _ in network.blocks[0].branch.named_children()]
    assert names == ["conv1", "act1", "norm1", "conv2", "act2", "norm2"]


def test_a_block_is_one_row(tmp_path, monkeypatch):
    row = (Layer(1, 1), Layer(3, 1, strides=True), Layer(3, 1), Layer(1, 2))
    monkeypatch.setitem(BLOCKS, "toy", row)
    folder = trained(tmp_path, "network.block=toy", "network.depth=14")
    table = describe(_network_of(folder), (1, 6, 6))
    convolutions = table[table.kind == "Conv2d"].output.tolist()
    assert convolutions[1:5] == ["4x6x6", "4x6x6", "4x6x6", "8x6x6"]
    assert convolutions[5:9] == ["8x6x6", "8x3x3", "8x3x3", "16x3x3"]


def test_a_norm_and_a_task_are_one_function(tmp_path, monkeypatch):
    from torch import nn

    from gradflow.training.tasks import classify, task

    try:
        NORMS.named("toy")(lambda size, dims: nn.InstanceNorm2d(size, affine=True))
        task("toy", draws_noise=False)(classify)
        monkeypatch.setattr(composed(tmp_path).network.__class__, "TASK", "toy")
        folder = trained(tmp_path, "network.norm=toy")
        assert "InstanceNorm2d" in set(describe(_network_of(folder), (1, 6, 6)).kind)
    finally:
        NORMS.remove("toy")
        TASKS.remove("toy")
