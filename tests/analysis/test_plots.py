"""The plots on tidy frames: means, intervals and cells against scipy and by hand."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import LogNorm

from gradflow.analysis.figures import plots, style
from gradflow.analysis.figures.plotted_data import drawn

VALUES = {8: [1.0, 2.0, 6.0], 14: [2.0, 2.5, 4.0], 20: [3.0]}


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


@pytest.fixture
def data():
    """One twin, three depths; the deepest has a single seed."""
    rows = [
        {"depth": depth, "twin": "plain", "seed": seed, "run_id": f"{depth}-{seed}", "v": value}
        for depth, values in VALUES.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def points(ax, kind, label=""):
    rows = drawn(ax.figure)
    rows = rows[(rows.kind == kind) & (rows.label == label)]
    return rows[["x", "y"]].to_numpy()


def test_lines_are_medians_and_every_seed_is_drawn(data, ax):
    assert plots.medians(data, x="depth", y="v", ax=ax) is ax
    np.testing.assert_allclose(points(ax, "line", "plain"), [[8, 2], [14, 2.5], [20, 3]])
    seeds = [[d, v] for d, values in VALUES.items() for v in values]
    np.testing.assert_allclose(points(ax, "line"), seeds)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("", "")


def test_what_has_no_place_on_a_log_axis_is_at_its_edge(data, ax):
    extra = [
        {"depth": 14, "twin": "plain", "seed": 3, "run_id": "zero", "v": 0.0},
        {"depth": 20, "twin": "plain", "seed": 4, "run_id": "lost", "v": np.nan},
        {"depth": 20, "twin": "plain", "seed": 5, "run_id": "more", "v": np.nan},
    ]
    plots.medians(pd.concat([data, pd.DataFrame(extra)]), x="depth", y="v", ax=ax, log=True)
    assert ax.get_yscale() == "log"
    # Of 0, 2, 2.5, 4 the middle two by logarithm. Two of three at 20 have no number: no median.
    line = points(ax, "line", "plain")
    np.testing.assert_allclose(line[:2], [[8, 2], [14, 5**0.5]])
    assert np.isnan(line[2:, 1]).all()
    assert points(ax, "lost", "plain, 0")[:, 0].tolist() == [14]
    assert len(points(ax, "lost")) + len(points(ax, "lost", "plain, no value")) == 2


def test_a_median_of_settings_was_tried():
    assert plots.middle([0.1, 0.4], log=True) == pytest.approx(0.2)
    assert plots.middle([0.1, 0.4], tried=True) == 0.1
    assert plots.middle([3.0, 1.0, 2.0]) == 2.0


def test_horizontal_medians(data, ax):
    plots.medians(data, x="v", y="depth", ax=ax, orient="y")
    np.testing.assert_allclose(points(ax, "line", "plain")[0], [2, 8])


@pytest.mark.parametrize("log", [False, True])
def test_bands_reach_from_the_lowest_to_the_highest_seed(data, ax, log):
    plots.curves(data[data.depth < 20], x="depth", y="v", ax=ax, log=log)
    np.testing.assert_allclose(points(ax, "line", "plain")[:, 1], [2, 2.5])
    band = set(points(ax, "band")[:, 1].round(9))
    assert band >= {1.0, 6.0, 2.0, 4.0}


def test_a_run_that_ended_early_has_a_cross_at_its_end(ax):
    rows = [("a", 0, 1.0), ("a", 1, 2.0), ("b", 0, 3.0)]
    frame = pd.DataFrame(rows, columns=["run_id", "step", "loss"]).assign(twin="plain")
    plots.curves(frame, x="step", y="loss", ax=ax)
    np.testing.assert_allclose(points(ax, "line"), [[0, 3]])


def test_a_profile_has_a_line_per_run_and_their_median(ax):
    norms = {"a": [1.0, 100.0], "b": [4.0, 1.0], "c": [0.0, np.inf]}
    rows = [(run, "plain", i, v) for run, line in norms.items() for i, v in enumerate(line)]
    frame = pd.DataFrame(rows, columns=["run_id", "twin", "layer_index", "norm"])
    plots.profile(frame, x="layer_index", y="norm", ax=ax)
    np.testing.assert_allclose(points(ax, "line", "plain"), [[0, 1], [1, 100]])
    lines = points(ax, "line")
    assert len(lines) == 6
    assert np.isnan(lines[4:, 1]).all()  # gaps, with marks at the edges
    assert points(ax, "lost", "plain, 0")[:, 0].tolist() == [0]
    assert points(ax, "lost", "plain, not finite")[:, 0].tolist() == [1]


def test_cells_have_their_texts_and_colors(ax):
    values = pd.DataFrame([[10.0, np.nan], [90.0, 50.0]], index=["a", "b"], columns=[8, 0.25])
    texts = pd.DataFrame([["10", "div."], ["90", "50"]])
    mesh = plots.cells(values, texts, ax=ax, cmap="viridis_r", low=0, high=100)
    places = {text.get_text(): text.get_position() for text in ax.texts}
    assert places == {"10": (0.5, 0.5), "90": (0.5, 1.5), "50": (1.5, 1.5), "div.": (1.5, 0.5)}
    assert mesh.get_clim() == (0, 100)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["8", "0.25"]
    assert ax.yaxis_inverted()  # the first row is on top


def test_a_surface_is_the_median_to_scale(ax):
    rows = [(step, layer, v) for step in (0, 7) for layer in (0, 1) for v in (0.0, 10.0, 100.0)]
    frame = pd.DataFrame(rows, columns=["step", "layer", "v"])
    plots.surface(frame, x="step", y="layer", value="v", ax=ax, scale=LogNorm(1, 100))
    cells = drawn(ax.figure)
    np.testing.assert_allclose(cells.value, 10)
    np.testing.assert_allclose(sorted(cells.x.unique()), [0, 7])


def test_shades_of_depths_stand_out_from_paper():
    shades = style.depth_colors([8, 20, 32, 56, 110]).values()
    assert min(style.contrast(shade, "w") for shade in shades) >= 3
    assert style.contrast("k", "w") == pytest.approx(21)


def test_twins_have_one_look_everywhere():
    assert style.TWIN_LOOKS.keys() == style.COLORS.keys() == style.MARKERS.keys()
