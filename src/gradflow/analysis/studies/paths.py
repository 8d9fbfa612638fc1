"""Through how many branches does a residual network's gradient come back?

python analysis/paths.py outputs/paths
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from gradflow.analysis.figures import plots, style
from gradflow.analysis.frames import groups
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.study import Study
from gradflow.analysis.tables import Cell, Table
from gradflow.core.errors import GradflowError
from gradflow.statistics import interval
from gradflow.theory.depth import path_gradient_shares

BODY = 0.9  # of the squared gradient, in the middle of its lengths


def analyze(output: Output) -> None:
    """The figure, and the table of effective path lengths.

    Raises:
        GradflowError: the study has no residual networks.
    """
    lengths = by_length(output.study)
    output.add_table("paths", length_table(lengths))
    draw(output, lengths)


def by_length(study: Study) -> pd.DataFrame:
    """A row per run, state and length: `count` of paths as a share of all, `path` (norm of a
    single path's gradient over that of the shortest) and `share`: the squared norm of what came
    back over all paths of the length together, over the sum of that over lengths."""
    columns = ["length", "n_paths", "path_grad_norm", "total_grad_norm"]
    rows = study.diagnosis("paths", "paths", columns)
    rows = rows[rows.twin == "residual"].sort_values("length")
    if rows.empty:
        raise GradflowError(f"{study.folder}: no residual network; plain ones have a single path")
    of_run = rows.groupby(["run_id", "at"])
    weight = rows.total_grad_norm**2
    return rows.assign(
        count=rows.n_paths / of_run.n_paths.transform("sum"),
        path=rows.path_grad_norm / of_run.path_grad_norm.transform("first"),
        share=weight / weight.groupby([rows.run_id, rows["at"]]).transform("sum"),
    )


def draw(output: Output, lengths: pd.DataFrame) -> None:
    """Number of paths, gradient of one, and share of the gradient, by length."""
    with output.figure(1, 3, height=2.5) as (made, axes):
        against_length(lengths, "count", ax=axes[0, 0]).set_ylabel("share of all paths")
        against_length(lengths, "path", ax=axes[0, 1]).set_ylabel(
            "gradient of one path\n(length 0: 1)"
        )
        against_length(lengths, "share", ax=axes[0, 2]).set_ylabel("share of squared gradient")
        axes[0, 2].set_xlim(-1, lengths.length[lengths.share > 1e-3].max() + 2)
        predicted(lengths, ax=axes[0, 2])
        handles = style.depth_handles(sorted(lengths.depth.unique()))
        handles += style.dash_handles(style.STATE_LINES)
        handles.append(Line2D([], [], color="k", lw=0.7, label="theory"))
        style.legend(made, [], handles=handles)
        style.letter_panels(axes[0])
        caption = (
            "Residual networks, paths by the number of branches that they go through. a: how many "
            "paths there are (binomial). b: norm of the gradient that comes back over one path "
            "(root mean square over sampled paths), relative to the path over all shortcuts. c: "
            "squared gradient that all paths of a length bring back together (exact), as a share "
            "of the sum over lengths; black: binomial theory from the slope of b at "
            "initialization. Dashed: "
            f"at initialization, solid: trained. Lines: median of "
            f"{output.study.seeds}; bands: from the lowest to the highest."
        )
        output.add_figure(made, "paths", caption)


def against_length(lengths: pd.DataFrame, value: str, *, ax: Axes) -> Axes:
    """A column against path length, a shade per depth; dashed before training, solid after."""
    shades = style.depth_colors(sorted(lengths.depth.unique()))
    if value == "count" and (lengths["at"] == "trained").any():
        lengths = lengths[lengths["at"] == "trained"]  # counts are the same before and after
    looks = {
        f"{depth}, {state}": {"color": color, "ls": dashes, "label": "_"}
        for depth, color in shades.items()
        for state, dashes in style.STATE_LINES.items()
    }
    lines = lengths.assign(line=lengths.depth.astype(str) + ", " + lengths["at"])
    plots.curves(lines, x="length", y=value, hue="line", looks=looks, ax=ax, log=value == "path")
    style.whole_axis(ax, "path length (branches)")
    return ax


def predicted(lengths: pd.DataFrame, *, ax: Axes) -> Axes:
    """The binomial theory of shares, from the factor of one more branch at initialization."""
    for _, group in groups(lengths[lengths["at"] == "initialization"], "depth"):
        factor = branch_factor(group)
        shares = path_gradient_shares(int(group.length.max()), factor)
        ax.plot(range(len(shares)), shares, color="k", lw=0.7, zorder=3)
    return ax


def branch_factor(lengths: pd.DataFrame) -> float:
    """The factor of the squared gradient of a path for one more branch on it: from the slope
    of log path_grad_norm, weighted by the share of the gradient that the lengths carry."""
    mean = lengths.assign(log=np.log(lengths.path_grad_norm)).groupby("length")[["log", "share"]]
    found = mean.mean()
    slope, _ = np.polyfit(found.index, found.log, 1, w=np.sqrt(found.share))
    return float(np.exp(2 * slope))


def length_table(lengths: pd.DataFrame) -> Table:
    """The lengths that carry the middle of the squared gradient."""
    rows: list[dict[str, Cell]] = []
    for (depth, state), group in groups(lengths, ["depth", "at"]):
        blocks = int(group.length.max())
        total = group.groupby("length").share.mean().cumsum()
        low, high = ((total > edge).idxmax() for edge in ((1 - BODY) / 2, (1 + BODY) / 2))
        rows.append(
            {
                "depth": int(depth),
                "blocks": blocks,
                "weights": state,
                "mean path length (95 % interval)": interval(
                    (group.length * group.share).groupby(group.run_id).sum()
                ),
                f"{BODY:.0%} of the squared gradient": f"{low} ... {high}",
                "mean length of all paths": blocks / 2,
            }
        )
    return Table(rows)


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__)
