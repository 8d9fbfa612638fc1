"""How much error does a trained network gain if blocks are deleted or swapped?

python analysis/lesion.py outputs/lesion
"""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from gradflow.analysis.figures import plots, style
from gradflow.analysis.frames import groups
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.study import Study
from gradflow.analysis.tables import Cell, Table
from gradflow.statistics import PERCENT, interval


def analyze(output: Output) -> None:
    """The figure, and the table of errors after a deleted block."""
    lesions = measured(output.study)
    output.add_table("lesion", deletion_table(lesions))
    draw(output, lesions)


def measured(study: Study) -> pd.DataFrame:
    """A row per lesion: `lesion`, `count`, `blocks`, `kendall_tau`, `error` in percent, and
    `network`: such as plain 20."""
    columns = ["lesion", "count", "blocks", "kendall_tau", "error"]
    rows = study.diagnosis("lesion", "lesions", columns)
    rows = rows[rows["at"] == "trained"]
    return rows.assign(error=100 * rows.error, network=rows.twin + " " + rows.depth.astype(str))


def draw(output: Output, lesions: pd.DataFrame) -> None:
    """Error by deleted block, by their number, and by the order of swapped blocks."""
    with output.figure(1, 3, height=2.5, sharey=True) as (made, axes):
        error_by_block(lesions, ax=axes[0, 0])
        error_by_count(lesions, ax=axes[0, 1]).set_ylabel("")
        error_by_order(lesions, ax=axes[0, 2]).set_ylabel("")
        style.legend(made, axes[0])
        style.letter_panels(axes[0])
        caption = (
            "Test error of trained networks after a lesion, without further training. a: one block "
            "deleted (dotted: none), by its place in the network. b: several blocks deleted, drawn "
            "at random. c: blocks of one shape swapped, by Kendall's rank correlation of the new "
            "order with the old. Plain networks lose the whole block, residual ones its branch. "
            f"Lines: median over {output.study.seeds}; bands: from the lowest to the highest; c: "
            "single draws."
        )
        output.add_figure(made, "lesion", caption)


def error_by_block(lesions: pd.DataFrame, *, ax: Axes) -> Axes:
    """Error after one block was deleted against its place, 0 (first) to 1 (last)."""
    single = lesions[(lesions.lesion == "delete") & (lesions["count"] == 1)]
    single = single.assign(block=single.blocks.map(lambda blocks: blocks[0]))
    last = single.groupby("network").block.transform("max")
    places = single.assign(place=single.block / last)
    plots.curves(places, x="place", y="error", hue="network", looks=_looks(single), ax=ax)
    for network, look in _looks(single).items():
        whole = lesions[(lesions.network == network) & (lesions.lesion == "none")].error.median()
        ax.axhline(whole, **look | {"ls": ":", "lw": 0.8})
    ax.set_xlabel("deleted block, from first to last")
    ax.set_ylabel("test error (%)")
    ax.set_ylim(-3, 103)
    return ax


def error_by_count(lesions: pd.DataFrame, *, ax: Axes) -> Axes:
    """Error against the number of deleted blocks; a run is the mean of its draws."""
    deleted = lesions[lesions.lesion.isin(["none", "delete"])]
    of_run = deleted.groupby(["network", "run_id", "count"]).error.mean().reset_index()
    plots.curves(of_run, x="count", y="error", hue="network", looks=_looks(of_run), ax=ax)
    style.whole_axis(ax, "blocks deleted")
    ax.set_ylabel("test error (%)")
    return ax


def error_by_order(lesions: pd.DataFrame, *, ax: Axes) -> Axes:
    """Error of every draw of swapped blocks against the rank correlation of their order."""
    swapped = lesions[lesions.lesion == "swap"]
    for network, look in _looks(swapped).items():
        group = swapped[swapped.network == network]
        marker = style.MARKERS[network.split()[0]]
        filled = "full" if look["ls"] == "-" else "none"
        ax.plot(
            group.kendall_tau, group.error, marker, color=look["color"], markersize=3,
            fillstyle=filled, mew=0.6,
        )  # fmt: skip
    ax.set_xlabel("Kendall's τ of the order")
    ax.set_ylabel("test error (%)")
    return ax


def deletion_table(lesions: pd.DataFrame) -> Table:
    """Error of the whole network and after lesions, over seeds."""
    rows: list[dict[str, Cell]] = []
    for network, group in groups(lesions, "network"):
        whole = group[group.lesion == "none"].error
        deleted = group[group.lesion == "delete"]
        blocks = int((deleted["count"] == 1).sum() / group.run_id.nunique())
        quarter = int(min(deleted["count"].unique(), key=lambda n: abs(n - blocks / 4)))
        one, several = (
            deleted[deleted["count"] == n].groupby("run_id").error for n in (1, quarter)
        )
        each, together = (interval(e.mean(), within=PERCENT) for e in (one, several))
        rows.append(
            {
                "network": network,
                "test error %": whole.mean(),
                "one block deleted, mean over blocks (95 % interval)": each,
                "worst block": one.max().mean(),
                "several deleted (95 % interval)": together,
                "deleted, of all": f"{quarter} of {blocks}",
                "seeds": len(whole),
            }
        )
    return Table(rows)


def _looks(lesions: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """A twin's color; the deeper residual network dashed."""
    looks = {}
    for network in sorted(lesions.network.unique()):
        twin, depth = network.split()
        dashes = "-" if int(depth) <= 20 else (0, (4, 1.5))
        looks[network] = {"color": style.COLORS[twin], "ls": dashes}
    return looks


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__)
