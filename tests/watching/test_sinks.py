"""Sinks show what the tables hold, under readable names; a broken one costs no record."""

import json
import sqlite3
import sys

import numpy as np
import pandas as pd
import pytest

from gradflow.analysis.watched import load_run
from gradflow.core.errors import GradflowError
from gradflow.watching.sinks import Csv, TensorBoard, Tracked
from tests.support.watched import watched


def test_csv_has_the_series_of_layers_and_blocks_and_the_figure(tmp_path):
    watch = watched(tmp_path / "a", 7, sinks=[Csv(tmp_path / "a.csv")])
    rows = pd.read_csv(tmp_path / "a.csv").set_index(["step", "name"]).value
    run = load_run(watch.folder)
    layer = run.layers[(run.layers.step == 3) & (run.layers.layer_name == "2.up")].iloc[0]
    assert rows[3, "gradient/2.up"] == layer.grad_norm
    assert rows[3, "update ratio/2.up"] == layer.relative_update
    block = run.blocks[(run.blocks.step == 6) & (run.blocks.block_name == "4")].iloc[0]
    assert rows[6, "shortcut share/4"] == block.skip_share
    assert rows[6, "block gradient/end of 6"] > 0
    assert (6, "shortcut share/end of 6") not in rows.index  # null
    assert rows[0, "loss"] == pytest.approx(run.steps.loss[0], rel=1e-6)
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(GradflowError, match=r"a.csv: is there already"):
        Csv(tmp_path / "a.csv")
    with pytest.raises(GradflowError, match="its folder does not exist"):
        Csv(tmp_path / "none" / "a.csv")


class Tracker:
    """As wandb and trackio look from outside."""

    def __init__(self):
        self.logged = []

    def log(self, values):
        self.logged.append(values)

    class Image:
        def __init__(self, pixels):
            self.shape = pixels.shape


def test_a_tracker_that_the_user_has_begun(tmp_path):
    tracker = Tracker()
    watch = watched(tmp_path / "a", 4, sinks=[Tracked(tracker)])
    assert [one.get("gradflow/step") for one in tracker.logged] == [0, 3, None]
    assert len([n for n in tracker.logged[0] if n.startswith("gradflow/gradient/")]) == 14
    assert tracker.logged[-1]["gradflow/run"].shape[2] == 3
    assert load_run(watch.folder).outcome is not None
    with pytest.raises(GradflowError, match="must have log\\(\\)"):
        Tracked(3)


def test_a_broken_sink_is_a_warning(tmp_path):
    class Broken:
        def measured(self, step, tables, loss):
            raise ConnectionError("no network")

        def close(self, watch):
            raise ConnectionError("still none")

    with pytest.warns(UserWarning, match="ConnectionError"):
        watch = watched(tmp_path / "a", 4, sinks=[Broken()])
    assert load_run(watch.folder).layers.step.unique().tolist() == [0, 3]


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    watched(tmp_path / "a", 4, sinks=[TensorBoard(tmp_path / "tb")])
    [events] = (tmp_path / "tb").iterdir()
    content = events.read_bytes()
    for name in (b"gradient/2.up", b"update_ratio/2.up", b"run"):
        assert name in content


def test_tensorboard_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(GradflowError, match="needs tensorboardX"):
        TensorBoard(tmp_path / "tb")


@pytest.mark.filterwarnings("ignore")  # of the package itself
def test_wandb_offline(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = wandb.init(mode="offline", dir=str(tmp_path), project="gradflow")
    watched(tmp_path / "a", 4, sinks=[Tracked(wandb)])
    summary = dict(run.summary)
    run.finish()
    assert np.isfinite(summary["gradflow/gradient/2.up"])
    assert summary["gradflow/step"] == 3
    assert list(tmp_path.glob("wandb/offline-run-*"))


@pytest.mark.filterwarnings("ignore")  # of the package itself
def test_trackio(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when it is imported
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    trackio = pytest.importorskip("trackio", reason="trackio is not installed")
    trackio.init(project="gradflow", name="run")
    watched(tmp_path / "a", 4, sinks=[Tracked(trackio)])
    trackio.finish()
    [store] = (tmp_path / "trackio").glob("*.db")
    rows = sqlite3.connect(store).execute("select metrics from metrics")
    logged = [json.loads(row) for (row,) in rows]
    assert [row.get("gradflow/step") for row in logged] == [0, 3, None]
    assert np.isfinite(logged[1]["gradflow/gradient/2.up"])
