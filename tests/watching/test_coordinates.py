"""The coordinate check: sizes against NumPy, exponents against closed forms, and its verdicts."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import gradflow
from benchmarks import coordinates as known
from gradflow.analysis.figures.plotted_data import drawn
from gradflow.cli import main
from gradflow.core.errors import GradflowError
from gradflow.core.seeds import derive_seed
from gradflow.watching.coordinate_verdict import FAILS, OPEN, PASSES, judge
from gradflow.watching.outputs import Outputs, aligned

WIDTHS = [8, 16]


def mlp(width, *, rate=0.1, middle=()):
    """Linear, what is in the middle, ReLU, Linear."""
    model = nn.Sequential(nn.Linear(4, width), *middle, nn.ReLU(inplace=True), nn.Linear(width, 3))
    batch = (torch.ones(6, 4).cumsum(0) / 6, torch.arange(6) % 3)
    return model, batch, F.cross_entropy, torch.optim.SGD(model.parameters(), lr=rate)


def test_sizes_are_those_of_numpy():
    """The linear network's training once more, in float64 by hand."""
    found = gradflow.coordinate_check(known.standard_linear, widths=[8, 32], steps=2, seeds=3)
    sizes = found.sizes.set_index(["layer", "quantity", "step", "width", "seed"]).rms
    assert len(sizes) == 2 * 5 * 2 * 3
    for seed in range(3):
        for width in (8, 32):
            torch.manual_seed(derive_seed(seed, "coordinates"))
            network = known.standard_linear(width)[0]
            u = network.hidden.weight[:, 0].detach().numpy().astype(float)  # x is a unit vector
            v = network.out.weight.detach().numpy().astype(float)
            first = u, v @ u
            for step in range(3):
                for layer, now, before in zip(("hidden", "out"), (u, v @ u), first, strict=True):
                    rms = np.sqrt(np.square(now).mean())
                    assert sizes[layer, "size", step, width, seed] == pytest.approx(rms, rel=1e-5)
                    if step:
                        rms = np.sqrt(np.square(now - before).mean())
                        change = sizes[layer, "change", step, width, seed]
                        assert change == pytest.approx(rms, rel=1e-3)  # a difference in float32
                u, v = u - known.RATE * v.sum(0), v - known.RATE * u


def test_exponents_are_those_of_the_closed_form():
    found = gradflow.coordinate_check(known.standard_linear, widths=known.WIDTHS, steps=1, seeds=20)
    rows = found.slopes.set_index(["layer", "quantity", "step"])
    for place, expected in {
        ("hidden", "size", 0): known.exponent(0.0),
        ("hidden", "change", 1): known.exponent(-0.5),
        ("out", "change", 1): 1.0,
    }.items():
        error = (rows.high[place] - rows.low[place]) / 4  # 95 %: 2 standard errors either way
        assert abs(rows.slope[place] - expected) < 4 * error, place
        assert error < 0.05


@pytest.mark.parametrize("case", known.CASES, ids=lambda case: case.name)
def test_verdicts_on_networks_whose_exponents_are_known(case):
    found = known.checked(case, 0)
    assert found.outcome in {case.right, OPEN} if case.right == PASSES else found.outcome != PASSES
    assert (found.outcome == FAILS) == (case.right == FAILS)


@pytest.mark.slow
def test_false_failures_and_passes_at_the_edge_are_rare():
    """At most 5 % and three standard errors."""
    checks = 200
    [edge] = [case for case in known.CASES if case.right == "either"]
    outcomes = [known.checked(edge, number).outcome for number in range(checks)]
    limit = 0.05 + 3 * np.sqrt(0.05 * 0.95 / checks)
    assert outcomes.count(FAILS) / checks <= limit
    assert outcomes.count(PASSES) / checks <= limit


def frame(exponents, spread=0.0, **more):
    """Sizes of layers that scale so, at step 1, over three seeds and three widths."""
    noise = np.random.default_rng(0)
    fixed = {"step": 1, "may_shrink": False} | more
    return pd.DataFrame(
        {"layer": layer, "quantity": quantity, "width": width, "seed": seed,
         "rms": width**exponent * np.exp(spread * noise.standard_normal())} | fixed
        for (layer, quantity), exponent in exponents.items()
        for width in (10, 100, 1000)
        for seed in range(3)
    )  # fmt: skip


def test_the_sentence_names_what_is_wrong():
    sizes = {("a", "size"): 0.0, ("a", "change"): 0.5, ("b", "change"): -1.0}
    found = judge(frame(sizes), "width", 0.0, 0.25)
    assert found.outcome == FAILS
    assert str(found) == (
        "Fails: the change of the output of b scales as width^-1.00 (95 % interval -1.00 ... "
        "-1.00) at step 1; wanted is 0 within 0.25. 2 of 3 exponents of 2 layers and blocks are "
        "outside. If all were inside, it would fail with a chance of at most 5 % (Student's t "
        "over 3 seeds; widths 10 to 1000)."
    )
    assert judge(frame({("a", "change"): 0.5}), "width", 0.5, 0.25).outcome == PASSES
    noisy = judge(frame({("a", "change"): 0.2}, spread=1.0), "width", 0.0, 0.25)
    assert noisy.outcome == OPEN
    assert "1 of 1 exponents of 1 layers and blocks may be within 0.25 of 0 or not" in str(noisy)


def test_the_last_output_may_shrink_and_not_grow():
    for exponent, outcome in ((-0.5, PASSES), (0.5, FAILS)):
        rows = [frame({("a", "size"): exponent}, may_shrink=True), frame({("a", "change"): 0.0})]
        assert judge(pd.concat(rows), "width", 0.0, 0.25).outcome == outcome
    found = gradflow.coordinate_check(known.standard_linear, widths=WIDTHS, steps=1, seeds=3)
    shrinking = found.slopes[found.slopes.may_shrink]
    assert set(zip(shrinking.layer, shrinking.quantity, strict=True)) == {("out", "size")}


def test_by_depth_a_branch_may_shrink_and_the_stream_may_not():
    found = gradflow.coordinate_check(known.standard_deep, depths=[2, 4], steps=1, seeds=3)
    shrinking = found.slopes[found.slopes.may_shrink]
    assert set(zip(shrinking.layer, shrinking.quantity, strict=True)) == {
        ("blocks.*.linear", "size"),
        ("blocks.*.linear", "change"),
        ("head", "size"),
    }


def test_what_is_0_in_every_network_is_not_judged():
    def zero(width):
        model, *rest = mlp(width)
        nn.init.zeros_(model[2].weight)  # no gradient reaches the first layer at step 1
        return model, *rest

    found = gradflow.coordinate_check(zero, widths=[32, 64], steps=2, seeds=3)
    says = found.slopes.set_index(["layer", "quantity", "step"]).says
    assert says["0", "change", 1] == "0"
    assert says["0", "change", 2] != "0"
    some = frame({("a", "change"): 0.0, ("b", "change"): 0.0})
    some.loc[0, "rms"] = 0.0
    found = judge(some, "width", 0.0, 0.25)
    assert found.outcome == OPEN
    assert "the change of the output of a is 0 at step 1 in some networks alone" in str(found)


def test_nothing_is_left_behind_and_it_is_repeatable():
    torch.manual_seed(3)
    drawn_before = torch.rand(1)
    torch.manual_seed(3)
    models = []

    def kept(width):
        made = mlp(width, middle=[nn.Dropout(0.5)])
        models.append(made[0])
        return made

    one = gradflow.coordinate_check(kept, widths=WIDTHS, steps=2, seeds=3)
    assert torch.equal(torch.rand(1), drawn_before)
    assert not any(module._forward_hooks for model in models for module in model.modules())
    two = gradflow.coordinate_check(kept, widths=WIDTHS, steps=2, seeds=3)
    pd.testing.assert_frame_equal(one.sizes, two.sizes)


def test_dropout_is_no_change():
    """Its mask is the same in every pass: what changes is the weights, little at this rate."""
    found = gradflow.coordinate_check(
        lambda width: mlp(width, rate=1e-3, middle=[nn.Dropout(0.5)]), widths=WIDTHS, seeds=3
    )
    last = found.sizes[found.sizes.layer == "3"].set_index("quantity").rms
    assert last["change"].max() < 0.02 * last["size"].min()


class Checkpointed(nn.Module):
    def __init__(self, width, use):
        super().__init__()
        self.first, self.last, self.use = nn.Linear(4, width), nn.Linear(width, 3), use

    def forward(self, x):
        if self.use:
            return self.last(F.relu(checkpoint(self.first, x, use_reentrant=False)))
        return self.last(F.relu(self.first(x)))


def test_a_checkpoint_changes_nothing():
    def made(use):
        def make(width):
            _, *rest, _ = mlp(width)
            model = Checkpointed(width, use)
            return model, *rest, torch.optim.SGD(model.parameters(), lr=0.1)

        return gradflow.coordinate_check(make, widths=WIDTHS, steps=2, seeds=3).sizes

    pd.testing.assert_frame_equal(made(True), made(False))


def test_places_of_networks_of_several_depths():
    found = {}
    for depth in (2, 3):
        block = nn.ModuleList(
            nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Linear(4, 4))) for _ in range(depth)
        )
        model = nn.Sequential(nn.Linear(4, 4), *block, nn.Linear(4, 2))
        with Outputs(model) as outputs:
            outputs.begin_pass()
            model(torch.ones(1, 4))
            outputs.end_pass()
        found[depth] = outputs
    places, left_out = aligned(found, merge=True)
    assert left_out == []
    assert places[3] == {
        "0": "*", "1.0": "*.0", "1.1.0": "*.1.0", "1.1": "*.1", "1": "*", "2.0": "*.0",
        "2.1.0": "*.1.0", "2.1": "*.1", "2": "*", "3.0": "*.0", "3.1.0": "*.1.0", "3.1": "*.1",
        "3": "*", "4": "output",
    }  # fmt: skip
    with pytest.raises(GradflowError, match="layers of the networks differ: 3.0, 3.1, 3.1.0 not"):
        aligned(found, merge=False)


def test_weights_that_are_computed_are_no_outputs():
    model = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))
    with Outputs(nn.Sequential(model)) as outputs:
        outputs.begin_pass()
        model(torch.ones(2, 4))
        outputs.end_pass()
    assert {name: sums.elements for name, sums in outputs.sums[0].items()} == {"0": 6}


def test_the_figure_shows_the_slopes(tmp_path):
    found = gradflow.coordinate_check(mlp, widths=WIDTHS, steps=2, seeds=3)
    figure = found.plot(tmp_path / "check.png")
    assert (tmp_path / "check.png").read_bytes()[:4] == b"\x89PNG"
    points = drawn(figure)
    for panel, quantity in (("c", "size"), ("d", "change")):
        expected = found.slopes[found.slopes.quantity == quantity].slope
        shown = points[(points.panel == panel) & (points.kind == "line")].y
        assert set(expected.round(9)) <= set(shown.round(9))
    assert " ".join(figure.get_suptitle().split()) == str(found)
    with pytest.raises(GradflowError, match="path=3: must be a path"):
        found.plot(3)


def test_the_example_of_the_page(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).parents[2] / "docs" / "how-to" / "coordinates.md"
    [example] = re.findall(r"```python\n(.*?)```", page.read_text(), re.S)
    exec(example.replace("[64, 128, 256, 512]", "[16, 64]"), {})
    assert "exponents of 2 layers and blocks" in capsys.readouterr().out
    assert (tmp_path / "coordinates.png").exists()


def other(**change):
    """A builder whose returned tuple differs."""

    def make(width):
        names = ("model", "batch", "loss", "optimizer")
        return tuple((dict(zip(names, mlp(width), strict=True)) | change).values())

    return make


def nan(width):
    model, *rest = mlp(width)
    model[2].weight.data[0, 0] = float("nan")
    return model, *rest


def seeded(width):
    torch.manual_seed(0)
    return mlp(width)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"make": 3}, "make=3: must be a function of a width"),
        ({"make": lambda: None}, "make\\(8\\): TypeError: .*takes 0 positional arguments"),
        ({"make": lambda width: 3}, "make\\(8\\): must return \\(model, batch, loss, optimizer\\)"),
        ({"make": other(model=3)}, "its model is a int, no torch.nn.Module"),
        ({"make": other(optimizer=3)}, "make\\(8\\): .*; its optimizer is a int"),
        ({"make": other(batch=3)}, "make\\(8\\): batch: with a loss it must be \\(inputs, targets"),
        ({"make": other(model=nn.ReLU())}, "ReLU: has no weighted layer"),
        ({"make": lambda width: mlp(8)}, "make\\(16\\) has as many parameters as make\\(8\\), 67"),
        ({"make": lambda width: mlp(width, rate=0.0)}, "optimizer: its steps change no output"),
        ({"make": lambda width: mlp(width, rate=1e-9)}, "optimizer: its steps change no output"),
        ({"make": nan}, "seed 0, step 0: the output of 2 is not finite"),
        ({"make": lambda width: mlp(width, rate=1e30)}, "step [12]: the output of . is not finite"),
        ({"make": seeded}, "seeds: two of them give the same outputs"),
        ({"widths": [8]}, "widths=\\[8\\]: must be two or more different numbers"),
        ({"widths": [8, 8]}, "widths=\\[8, 8\\]: must be two or more different"),
        ({"widths": [8, 1.5]}, "widths=\\[8, 1.5\\]: must be whole numbers"),
        ({"widths": 8}, "widths=8: must be whole numbers"),
        ({"depths": [1, 2]}, "widths, depths: give one of them"),
        ({"widths": None}, "widths, depths: give one of them"),
        ({"steps": 0}, "steps=0: must be >= 1"),
        ({"seeds": 2}, "seeds=2: must be >= 3"),
        ({"wanted": "mup"}, "wanted=mup: must be a number"),
        ({"wanted": float("nan")}, "wanted=nan: must be finite"),
        ({"tolerance": 0}, "tolerance=0: must be > 0"),
    ],
)
def test_typed_values_at_the_door(change, line):
    options = {"make": mlp, "widths": WIDTHS, "steps": 2, "seeds": 3} | change
    with pytest.raises(GradflowError, match=line):
        gradflow.coordinate_check(**options)


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    source = "from benchmarks.coordinates import *\ndeep = CASES[6].make\nnothing = 1\n"
    (tmp_path / "my_networks.py").write_text(source)
    with pytest.raises(SystemExit) as ended:
        main(["coordinates", "my_networks:standard_linear", "--widths", "16,64,256", "--out", "a"])
    assert ended.value.code == 2
    out = capsys.readouterr().out
    assert out.startswith("Fails: the change of the output of out scales as width^")
    assert "| hidden |" in out
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "coordinates.png",
        "sizes.csv",
        "slopes.csv",
    ]
    assert set(pd.read_csv(tmp_path / "a" / "sizes.csv").width) == {16, 64, 256}
    with pytest.raises(SystemExit) as ended:
        main(["coordinates", "my_networks.py:deep", "--depths", "4,8,16", "--steps", "2"])
    assert ended.value.code == 0
    for given, line in (
        (["my_networks:mlp", "--widths", "8,a"], "--widths=8,a: must be whole numbers"),
        (["my_networks:nothing", "--widths", "8,16"], "my_networks has no function nothing"),
        (["my_networks:deep"], "widths, depths: give one of them"),
    ):
        with pytest.raises(SystemExit, match=f"error: .*{line}"):
            main(["coordinates", *given])
