"""Figure 6 and table 6 of He et al. 2015, beside the published numbers.

python analysis/he2015.py outputs/reference/he2015
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes

from gradflow.analysis.figures import plots, style
from gradflow.analysis.figures.plotted_data import LOST
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.tables import Cell, Table
from gradflow.core.errors import GradflowError
from gradflow.statistics import PERCENT, interval


class Published(NamedTuple):
    """A depth of the paper: test errors in percent on CIFAR-10, parameters in millions.

    Residual errors and parameters are of table 6; plain errors were not tabulated, and are read
    off figure 6 to about a point ("above" if they leave it).
    """

    residual: float
    plain: float | str | None
    parameters: float


PAPER = {
    20: Published(8.75, 9.0, 0.27),
    32: Published(7.51, None, 0.46),
    44: Published(7.17, None, 0.66),
    56: Published(6.97, 13.0, 0.85),
    110: Published(6.43, "above 60", 1.7),
    1202: Published(7.93, None, 19.4),
}


def analyze(output: Output) -> None:
    """The figure and the table.

    Raises:
        GradflowError: the networks are not of the paper's family, or of none of its depths.
    """
    study = output.study
    runs = study.runs.assign(error=100 * study.runs.final_test_error)
    if set(runs.network_name) != {"cifar_resnet"} or not set(runs.depth) & set(PAPER):
        raise GradflowError(
            f"{study.folder}: holds no network of He et al. 2015 (network=cifar_resnet, depth "
            f"{', '.join(map(str, PAPER))})"
        )
    output.add_table("he2015", error_table(runs))
    draw(output, runs)


def error_table(runs: pd.DataFrame) -> Table:
    """A row per depth: both networks' test errors here and in the paper, and their parameters."""
    rows: list[dict[str, Cell]] = []
    for depth in sorted(runs.depth.unique()):
        group = runs[runs.depth == depth]
        published = PAPER.get(int(depth))
        row: dict[str, Cell] = {"depth": int(depth)}
        for twin in style.COLORS:
            errors = group[group.twin == twin].error.dropna()
            found = interval(errors, within=PERCENT) if len(errors) > 1 else errors.mean()
            row[f"{twin}, test error % (95 % interval)"] = found
            row[f"{twin}, He et al. 2015"] = getattr(published, twin) if published else None
        row["parameters, M"] = group.n_parameters.iloc[0] / 1e6
        row["parameters, M, He et al. 2015"] = published.parameters if published else None
        rows.append(row | {"seeds": group.seed.nunique()})
    first = runs.iloc[0]
    formats = {"parameters, M": ".3g", "parameters, M, He et al. 2015": ".3g"}
    return Table(
        rows,
        formats | {"residual, He et al. 2015": ".2f"},
        note=(
            f"Here: {first.data_name}, width {first.network_width}, {first.steps} steps of "
            f"{first.data_batch_size}. There: CIFAR-10, width 16, 64,000 steps of 128; plain "
            "errors read off figure 6."
        ),
    )


def draw(output: Output, runs: pd.DataFrame) -> None:
    """Errors by step, here; errors by depth, here and as published."""
    study = output.study
    steps = study.records("steps", ["step", "error"])
    tests = study.records("evaluations", ["step", "split", "error"])
    tests = tests[tests.split == "test"]
    with output.figure(2, 2, height=4.6) as (made, axes):
        shades = style.depth_colors(sorted(runs.depth.unique()))
        for ax, twin in zip(axes[0], style.COLORS, strict=True):
            error_curves(steps[steps.twin == twin], tests[tests.twin == twin], shades, ax=ax)
            ax.set_title(f"{twin}, here")
        axes[0, 1].set_ylabel("")
        error_against_depth(runs, ax=axes[1, 0]).set_title("last step, here")
        published_against_depth(sorted(runs.depth.unique()), ax=axes[1, 1]).set_title(
            "last step, He et al. 2015"
        )
        style.legend(made, [axes[1, 0], axes[0, 0]])
        style.letter_panels([*axes[0], *axes[1]])
        first, several = runs.iloc[0], runs.seed.nunique() > 1
        spread = "open marks: single seeds; lines: their median" if several else "one seed"
        caption = (
            f"a, b: error by step and depth: of training mini-batches (dashed, running mean of "
            f"{window(steps)} steps) and of the test split (solid, marks); "
            f"{'medians over seeds' if several else 'one seed'}. c: test error after the last "
            f"step against depth; {spread}. Here: {first.data_name}, width "
            f"{first.network_width}, {first.steps} steps of {first.data_batch_size}. d: as "
            "published for CIFAR-10, width 16, 64,000 steps of 128; plain errors (no line) read "
            "off figure 6; the triangle is that of depth 110, above 60 %."
        )
        output.add_figure(made, "he2015", caption)


def window(steps: pd.DataFrame) -> int:
    """Steps that a training error is averaged over: a fortieth of all."""
    return max(1, (int(steps.step.max()) + 1) // 40)


def error_curves(
    steps: pd.DataFrame, tests: pd.DataFrame, shades: Mapping[int, Any], *, ax: Axes
) -> Axes:
    """Training (dashed) and test error (solid) in percent by step, a color per depth."""
    size = window(steps)
    for depth in sorted(steps.depth.unique()):
        train = steps[steps.depth == depth].groupby("step").error.median().rolling(size).mean()
        test = tests[tests.depth == depth].groupby("step").error.median()
        ax.plot(train.index, 100 * train, color=shades[depth], lw=0.8, ls="--")
        ax.plot(test.index, 100 * test, color=shades[depth], marker=".", label=f"depth {depth}")
    style.whole_axis(ax, "step")
    ax.set_ylabel("error (%)")
    ax.set_ylim(0, 100)
    return ax


def error_against_depth(runs: pd.DataFrame, *, ax: Axes) -> Axes:
    """Test error (`error`, percent) against depth, by twin, with intervals."""
    plots.medians(runs, x="depth", y="error", ax=ax, lost="diverged")
    style.depth_axis(ax, sorted(runs.depth.unique()))
    ax.set_ylabel("test error (%)")
    ax.set_ylim(0, 1.06 * runs.error.max())
    return ax


def published_against_depth(depths: Sequence[int], *, ax: Axes) -> Axes:
    """The paper's errors at those of `depths` that it has."""
    for twin, line in (("plain", "none"), ("residual", "-")):
        points = {d: getattr(PAPER[d], twin) for d in depths if d in PAPER}
        beyond = [d for d, error in points.items() if isinstance(error, str)]
        points = {d: error for d, error in points.items() if isinstance(error, float)}
        look = style.TWIN_LOOKS[twin]
        ax.plot(list(points), list(points.values()), ls=line, **look)
        if beyond:
            ax.plot(
            beyond, [plots.EDGE] * len(beyond), "^", color=look["color"], clip_on=False,
            transform=ax.get_xaxis_transform(), gid=LOST,
        )  # fmt: skip
    style.depth_axis(ax, depths)
    ax.set_ylabel("test error (%)")
    ax.set_ylim(bottom=0)
    return ax


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__)
