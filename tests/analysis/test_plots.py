"""The plots on tidy frames: means, intervals and cells against scipy and by hand."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.stats
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


def t_ends(values):
    """Mean and 95 % interval as scipy has them."""
    mean, error = np.mean(values), scipy.stats.sem(values)
    return mean, *scipy.stats.t.interval(0.95, len(values) - 1, loc=mean, scale=error)


def points(ax, kind, label=""):
    rows = drawn(ax.figure)
    rows = rows[(rows.kind == kind) & (rows.label == label)]
    return rows[["x", "y"]].to_numpy()


def test_means_and_bars_are_students(data, ax):
    assert plots.means(data, x="depth", y="v", ax=ax) is ax
    expected = [[d, np.mean(v)] for d, v in VALUES.items()]
    np.testing.assert_allclose(points(ax, "line", "plain"), expected)
    bars = points(ax, "bar").reshape(-1, 2, 2)
    assert len(bars) == 2  # one seed has no interval
    for bar, depth in zip(bars, (8, 14), strict=True):
        _, low, high = t_ends(VALUES[depth])
        np.testing.assert_allclose(bar, [[depth, low], [depth, high]])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("", "")


def test_means_on_a_log_axis_are_geometric(data, ax):
    extra = {"depth": 8, "twin": "plain", "seed": 3, "run_id": "zero", "v": 0.0}
    plots.means(pd.concat([data, pd.DataFrame([extra])]), x="depth", y="v", ax=ax, log=True)
    mean, low, high = np.exp(t_ends(np.log(VALUES[8])))
    np.testing.assert_allclose(points(ax, "line", "plain")[0], [8, mean])
    np.testing.assert_allclose(points(ax, "bar")[:2], [[8, low], [8, high]])
    assert ax.get_yscale() == "log"


def test_intervals_are_cut_at_limits_but_not_short_of_their_mean(data, ax):
    plots.means(data, x="depth", y="v", ax=ax, limits=(0.0, 2.9), seeds=True)
    first, second = points(ax, "bar").reshape(-1, 2, 2)[:, :, 1]
    assert first.tolist() == [0, 3]  # the mean itself is above the limit
    assert second[1] == 2.9
    rows = drawn(ax.figure)
    seeds = rows[(rows.kind == "line") & (rows.label == "")]
    assert set(data.v) <= set(seeds.y)


def test_horizontal_means(data, ax):
    plots.means(data, x="v", y="depth", ax=ax, orient="y")
    np.testing.assert_allclose(points(ax, "line", "plain")[0], [3, 8])


@pytest.mark.parametrize("log", [False, True])
def test_curves_have_the_same_numbers_as_bands(data, ax, log):
    plots.curves(data[data.depth < 20], x="depth", y="v", ax=ax, log=log)
    transform, back = (np.log, np.exp) if log else (np.asarray, np.asarray)
    ends = [back(t_ends(transform(VALUES[depth]))) for depth in (8, 14)]
    np.testing.assert_allclose(points(ax, "line", "plain")[:, 1], [e[0] for e in ends])
    band = set(points(ax, "band")[:, 1].round(9))
    assert band >= {round(float(end), 9) for _, *both in ends for end in both}


def test_a_profile_has_a_line_per_run_and_their_geometric_mean(ax):
    norms = {"a": [1.0, 100.0], "b": [4.0, 1.0], "c": [0.0, np.inf]}
    rows = [(run, "plain", i, v) for run, line in norms.items() for i, v in enumerate(line)]
    frame = pd.DataFrame(rows, columns=["run_id", "twin", "layer_index", "norm"])
    plots.profile(frame, x="layer_index", y="norm", ax=ax)
    np.testing.assert_allclose(points(ax, "line", "plain"), [[0, 2], [1, 10]])
    assert len(points(ax, "line")) == 4  # what is not a number above 0 has no place


def test_cells_have_their_texts_and_colors(ax):
    values = pd.DataFrame([[10.0, np.nan], [90.0, 50.0]], index=["a", "b"], columns=[8, 0.25])
    texts = pd.DataFrame([["10", "div."], ["90", "50"]])
    mesh = plots.cells(values, texts, ax=ax, cmap="viridis_r", low=0, high=100)
    places = {text.get_text(): text.get_position() for text in ax.texts}
    assert places == {"10": (0.5, 0.5), "90": (0.5, 1.5), "50": (1.5, 1.5), "div.": (1.5, 0.5)}
    assert mesh.get_clim() == (0, 100)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["8", "0.25"]
    assert ax.yaxis_inverted()  # the first row is on top


def test_a_surface_is_the_geometric_mean_to_scale(ax):
    rows = [(step, layer, v) for step in (0, 7) for layer in (0, 1) for v in (1.0, 100.0)]
    frame = pd.DataFrame(rows, columns=["step", "layer", "v"])
    plots.surface(frame, x="step", y="layer", value="v", ax=ax, scale=LogNorm(1, 100))
    cells = drawn(ax.figure)
    np.testing.assert_allclose(cells.value, 10)
    np.testing.assert_allclose(sorted(cells.x.unique()), [0, 7])


def test_twins_have_one_look_everywhere():
    assert style.TWIN_LOOKS.keys() == style.COLORS.keys() == style.MARKERS.keys()
