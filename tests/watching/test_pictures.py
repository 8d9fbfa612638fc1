"""The figure, the page and the comparison of watched runs say what was planted."""

import html
import json
import re

import numpy as np
import pytest
import torch
from matplotlib.collections import QuadMesh

import gradflow
from gradflow.analysis.compare import compare, group_of
from gradflow.analysis.figures.plotted_data import drawn
from gradflow.analysis.watched import load_run, plot_run
from gradflow.cli import main
from gradflow.core.errors import GradflowError
from tests.support.watched import residual, train, watched


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return watched(tmp_path_factory.mktemp("runs") / "first", 12, settings={"note": "<b>x</b>"})


def test_the_figure_shows_what_was_recorded(run):
    figure = run.plot()
    points = drawn(figure)
    loss = points[(points.kind == "line") & (points.panel == "e")]
    assert len(figure.axes) == 9  # five panels, four color bars
    recorded = load_run(run.folder)
    [mesh] = [m for m in figure.axes[1].collections if isinstance(m, QuadMesh)]
    grid = recorded.layers.pivot(index="layer_index", columns="step", values="grad_norm")
    np.testing.assert_array_equal(np.asarray(mesh.get_array()).ravel(), grid.to_numpy().ravel())
    assert loss.y.tolist() == recorded.steps.loss.tolist()
    assert figure.get_suptitle().startswith("Sequential: 12 steps, 4 measured; no alert")


def test_what_is_not_finite_and_what_is_dead_have_colors_of_their_own(tmp_path):
    model = residual()

    def break_two(step):
        if step == 6:
            model[4].down.weight.register_hook(lambda gradient: gradient * float("nan"))
            model[2].up.weight.register_hook(lambda gradient: gradient * 0)

    with gradflow.watch(model, tmp_path / "a", every=3) as watch:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
        train(model, 7, watch, optimizer, before=break_two)
    axes = watch.plot().axes[1]
    marks = {}
    for mesh in axes.collections[1:]:
        color = tuple(np.round(mesh.get_cmap()(0)[:3], 2))
        marks[color] = np.argwhere(np.isfinite(np.ma.filled(mesh.get_array(), np.nan))).tolist()
    index = {layer: i for i, layer in enumerate(load_run(watch.folder).layers.layer_name.unique())}
    assert marks[(0, 0, 0)] == [[index["2.up"], 2]]
    assert marks[(0.84, 0.37, 0)] == [[index["4.down"], 2]]
    alerts = {alert.kind: (alert.place, alert.step) for alert in watch.alerts}
    assert alerts["non_finite"] == ("4.down", 6)


def test_a_network_without_blocks_has_a_figure_too(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    with gradflow.watch(model, tmp_path / "a") as watch:
        model(torch.ones(2, 4)).sum().backward()
        watch.step()
    figure = watch.plot(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    assert len(figure.axes) == 5
    with pytest.raises(GradflowError, match="must end in .png, .pdf, .svg"):
        watch.plot(tmp_path / "a.gif")
    with pytest.raises(GradflowError, match="No such file"):
        watch.plot(tmp_path / "nowhere" / "a.png")


def test_the_page_of_a_run(run, capsys):
    main(["report", str(run.folder)])
    paths = capsys.readouterr().out.split()
    assert paths[-1] == str(run.folder / "report.html")
    page = (run.folder / "report.html").read_text()
    assert "None in 4 measured steps" in page
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "<b>x</b>" not in page
    data = json.loads(re.search(r'id="profiles">(.*?)</script>', page, re.S).group(1))
    kinds = {kind["name"]: kind for kind in data["kinds"]}
    assert kinds["layers"]["names"] == load_run(run.folder).layers.layer_name.unique().tolist()
    assert kinds["blocks"]["names"] == [*"123456", "end of 6"]
    assert kinds["layers"]["steps"] == [0, 3, 6, 9]
    assert [kind["axis"] for kind in kinds.values()] == ["layer", "block"]  # its first has a name
    assert data["caption"] in html.unescape(page)
    assert "seed" not in data["caption"]


def test_the_page_of_a_run_says_that_an_error_cut_it_off(tmp_path):
    model = torch.nn.Linear(4, 1)

    def steps(watch):
        model(torch.ones(2, 4)).sum().backward()
        watch.step()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), gradflow.watch(model, tmp_path / "a") as watch:
        steps(watch)
    main(["report", str(watch.folder)])
    page = (watch.folder / "report.html").read_text()
    assert "cut off by an error" in page
    assert "the training ended with KeyboardInterrupt<" in page
    assert "finished" not in page


def test_a_folder_of_watched_runs_names_one_of_them(run):
    folder = run.folder.parent
    with pytest.raises(SystemExit, match=r"of its 1 watched runs give one, such as .*first$"):
        main(["report", str(folder)])


def test_no_run_is_refused_in_one_line(tmp_path):
    with pytest.raises(GradflowError, match="is no watched run"):
        plot_run(tmp_path)
    with pytest.raises(SystemExit, match=r"error: .*is no watched run"):
        main(["compare", str(tmp_path), str(tmp_path)])
    with pytest.raises(SystemExit, match="error: dance: no such command; did you mean"):
        main(["dance"])


def faster(model, folder, layer, since):
    """AdamW with one layer's rate 100 times that of the others from a step on."""
    own = dict(model.named_parameters())[f"{layer}.weight"]
    others = [p for p in model.parameters() if p is not own]
    optimizer = torch.optim.AdamW([{"params": others}, {"params": [own]}], lr=1e-3)

    def change(step):
        if step == since:
            optimizer.param_groups[1]["lr"] = 0.1

    with gradflow.watch(model, folder, every=2) as watch:
        train(model, 16, watch, optimizer, before=change)


def test_a_comparison_names_the_layer_and_the_step_that_were_planted(tmp_path, capsys):
    faster(residual(), tmp_path / "a", "3.up", since=99)
    faster(residual(), tmp_path / "b", "3.up", since=99)
    faster(residual(), tmp_path / "c", "3.up", since=8)
    assert "are equal at all 8 measured steps" in compare(tmp_path / "a", tmp_path / "b").text
    found = compare(tmp_path / "a", tmp_path / "c")
    first = found.layers.iloc[0]
    assert (first.layer_name, first.step, first.quantity) == ("3.up", 8, "update ratio")
    assert first.factor == pytest.approx(100, rel=0.1)
    assert found.groups.iloc[0].group == "3"
    assert "They first differ at step 8. 3.up departs first, at step 8" in found.text
    main(["compare", str(tmp_path / "a"), str(tmp_path / "c")])
    assert "| 3.up | 8 | update ratio |" in capsys.readouterr().out
    with pytest.raises(GradflowError, match="factor=1: must be a number > 1"):
        compare(tmp_path / "a", tmp_path / "c", 1)


def test_runs_without_a_common_layer_are_refused(run, tmp_path):
    model = torch.nn.Linear(4, 1)
    with gradflow.watch(model, tmp_path / "a") as watch:
        model(torch.ones(2, 4)).sum().backward()
        watch.step()
    with pytest.raises(GradflowError, match="no layer is measured at the same step in both"):
        compare(run.folder, tmp_path / "a")


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("transformer.h.3.mlp.c_fc", "transformer.h.3"),
        ("layer1.0.conv1", "layer1.0"),
        ("7", "7"),
        ("head", "head"),
        ("encoder.embed", "encoder"),
    ],
)
def test_groups_of_layers(name, group):
    assert group_of(name) == group
