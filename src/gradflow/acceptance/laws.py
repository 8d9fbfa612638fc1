"""Laws over depth in one figure: what the claims measure as a course, with the theory drawn in."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from matplotlib.axes import Axes

from gradflow.acceptance import linear_norm, sharpness, streams, update_size
from gradflow.acceptance.measuring import noise
from gradflow.acceptance.shaped import DEEP, orthogonal_pair, plain
from gradflow.analysis.figures import plots, style
from gradflow.config.acceptance import AcceptanceConfig
from gradflow.theory import depth, shaped
from gradflow.theory import streams as stream_theory
from gradflow.training.frozen import block_inputs

PAIRS = 6  # networks whose correlations are followed
Array = npt.NDArray[Any]
INK = ("#0072B2", "#D55E00", "#00785A")


class Course(NamedTuple):
    """One line of a panel: [networks, places] at places x, and what theory has there, if it has."""

    law: str
    series: str
    x: Array
    measured: Array
    theory: Array | None


def courses(config: AcceptanceConfig) -> Iterator[Course]:
    """Every line of the figure, in the order of its panels."""
    yield from _correlations(config)
    yield from _linear_norm(config)
    yield from _changes(config)
    for rate in sharpness.RATES_OF_DESCENT:
        found = sharpness.deeper_sharpness(config, rate)
        steps = np.linspace(0, sharpness.STEPS, found.shape[1])
        yield Course("sharpness", f"rate {rate:g}", steps, found, np.ones(len(steps)))
    yield from _streams(config)


def _correlations(config: AcceptanceConfig) -> Iterator[Course]:
    """Of two orthogonal inputs, behind each of 109 activations."""
    for activation, name in (("tailored_relu", "tailored"), ("relu", "ReLU")):
        rows = []
        for seed in range(PAIRS):
            network = plain(DEEP, seed, activation=activation)
            with torch.no_grad():
                _, *inputs, last = block_inputs(network, orthogonal_pair(seed))
                act = network.head.get_submodule("act1")
                rows.append([_cosine(act(x)) for x in (*inputs, last)])
        layers = np.arange(2, DEEP)
        slope = shaped.tailored_slope(DEEP - 1) if activation == "tailored_relu" else 0.0
        theory = np.array([shaped.network_correlation(int(n), slope) for n in layers])
        yield Course("correlation", name, layers, np.array(rows), theory)


def _cosine(pair: torch.Tensor) -> float:
    return float(torch.cosine_similarity(pair[0], pair[1], dim=0))


def _linear_norm(config: AcceptanceConfig) -> Iterator[Course]:
    """Squared gradient by layers from the last; isometry gap by layers from the first."""
    layers = np.arange(linear_norm.LAYERS + 1)
    wide = depth.linear_batch_norm_factor(linear_norm.BATCH) ** layers
    for name, theory in (("orthogonal", None), ("gaussian", wide)):
        frames = linear_norm.deep(config, name)
        norms = np.array([f.input_grad_norm.astype(float).to_numpy() for f in frames]) ** 2
        growth = norms[:, ::-1] / norms[:, -1:]
        yield Course("gradient", f"{name.capitalize()} weights", layers, growth[:, layers], theory)
    gaps = []
    for seed in range(PAIRS):
        network = linear_norm.bn_linear(linear_norm.TO, seed, linear_norm.WIDTH, "orthogonal")
        with torch.no_grad():
            inputs = block_inputs(network, noise(seed, linear_norm.BATCH).double())
        gaps.append([linear_norm.isometry_gap(x.numpy()) for x in inputs[1:]])
    found, layers = np.array(gaps), np.arange(1, linear_norm.TO + 1)
    decay = depth.isometry_gap_factor(linear_norm.WIDTH) ** (layers - linear_norm.FROM)
    middle = np.exp(np.log(found[:, linear_norm.FROM - 1]).mean())
    yield Course("gap", "Orthogonal weights", layers, found, middle * decay)


def _changes(config: AcceptanceConfig) -> Iterator[Course]:
    """Squared change of the output in a step, by the number of layers that take it."""
    for skip, name in ((False, "plain"), (True, "residual, 1/sqrt(L)")):
        blocks = update_size.RESIDUAL_DEPTHS if skip else [n + 1 for n in update_size.DEPTHS]
        theory = [
            depth.residual_update_growth(n) if skip else depth.update_growth(n - 1) for n in blocks
        ]
        found = update_size.unit_changes(config, skip)
        yield Course("change", name, np.array(blocks) - 1.0, found, np.array(theory))


def _streams(config: AcceptanceConfig) -> Iterator[Course]:
    """Mean square that the MLP blocks of transformers add, by layer."""
    scaled = np.array([stream_theory.mlp_output(n**-0.5) for n in streams.EVERY])
    even = np.full(len(scaled), stream_theory.mlp_output())
    rows = {
        "Peri-LN": ("peri_norm", np.ones(len(scaled))),
        "pre-norm": ("pre_norm", even),
        "LayerNorm scaling": ("layer_norm_scaling", scaled),
    }
    for name, (placement, theory) in rows.items():
        frames = streams.drawn(config, placement)
        added = np.array([f.branch_rms.to_numpy(dtype=float)[1:-1:2] ** 2 for f in frames])
        yield Course("stream", name, streams.EVERY, added, theory)


def draw_laws(config: AcceptanceConfig) -> list[Path]:
    """Measure the courses; write laws.csv and figures/depth_laws.png to the acceptance folder."""
    found = list(courses(config))
    folder = Path(config.output_root) / "acceptance"
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    paths = [folder / "laws.csv", folder / "figures" / "depth_laws.png"]
    pd.concat([_rows(course) for course in found]).to_csv(paths[0], index=False)
    with style.figure(2, 3, height=4.6) as (made, axes):
        for ax, (law, panel) in zip(axes.flat, PANELS.items(), strict=True):
            lines = [course for course in found if course.law == law]
            _draw(ax, lines, log="y" in panel.log)
            ax.set(title=panel.title, xlabel=panel.x)
            if "x" in panel.log:
                ax.set_xscale("log")
            ax.legend(loc="best", fontsize=5.5)
        style.letter_panels(axes.flat)
        for drawn in style.figures_of(made):
            drawn.savefig(paths[1])
    return paths


def _rows(course: Course) -> pd.DataFrame:
    """Long: law, series, x, network, measured, theory (empty: there is none)."""
    networks, places = course.measured.shape
    theory = np.full(places, np.nan) if course.theory is None else course.theory
    return pd.DataFrame(
        {
            "law": course.law,
            "series": course.series,
            "x": np.tile(course.x, networks),
            "network": np.repeat(np.arange(networks), places),
            "measured": course.measured.ravel(),
            "theory": np.tile(theory, networks),
        }
    )


def _draw(ax: Axes, lines: list[Course], *, log: bool) -> None:
    """Median and range of the networks; theory as a black dashed line above."""
    looks = {
        line.series: {"color": color, "lw": 1.6} for line, color in zip(lines, INK, strict=False)
    }
    data = pd.concat([_rows(line) for line in lines])
    plots.curves(data, x="x", y="measured", hue="series", looks=looks, ax=ax, log=log)
    label = "theory"
    for line in lines:
        if line.theory is not None:
            ax.plot(line.x, line.theory, color="k", lw=0.9, ls=(0, (3, 2)), label=label, zorder=4)
            label = "_"


class Panel(NamedTuple):
    """A panel's title, horizontal axis and logarithmic axes."""

    title: str
    x: str
    log: str = ""


PANELS = {
    "correlation": Panel("correlation of orthogonal inputs", "activation (of 109)"),
    "gradient": Panel("squared gradient, linear batch norm", "layers behind it", "y"),
    "gap": Panel("isometry gap, linear batch norm", "layer", "y"),
    "change": Panel("squared change in a step", "layers", "xy"),
    "sharpness": Panel("sharpness over 2 / rate", "step of gradient descent"),
    "stream": Panel("mean square an MLP block adds", "layer", "y"),
}
