"""What does a trained network lose with a block? Blocks deleted, blocks swapped.

python analysis/lesion.py outputs/lesion
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from gradflow.analysis.figures import style
from gradflow.analysis.study import Study, run_script
from gradflow.analysis.tables import Table
from gradflow.statistics import interval, intervals_by


def analyse(study: Study, formats: Sequence[str]) -> list[Path]:
    """The figure, and the table of what one deleted block costs; prints the table."""
    lesions = measured(study)
    table = deletion_table(lesions)
    print(table)
    paths = study.save_table("lesion", table)
    return [*paths, *draw(study, lesions, formats)]


def measured(study: Study) -> pd.DataFrame:
    """A row a lesion: `lesion`, `count`, `blocks`, `kendall_tau`, `error` in percent, and
    `network`: such as plain 20."""
    columns = ["lesion", "count", "blocks", "kendall_tau", "error"]
    rows = study.diagnosis("lesion", "lesions", columns)
    rows = rows[rows["at"] == "trained"]
    return rows.assign(error=100 * rows.error, network=rows.twin + " " + rows.depth.astype(str))


def draw(study: Study, lesions: pd.DataFrame, formats: Sequence[str]) -> list[Path]:
    with style.figure(1, 3, height=2.5, sharey=True) as (made, axes):
        error_by_block(lesions, ax=axes[0, 0])
        error_by_count(lesions, ax=axes[0, 1]).set_ylabel("")
        error_by_order(lesions, ax=axes[0, 2]).set_ylabel("")
        axes[0, 1].legend(loc="lower right")
        style.letter_panels(axes[0])
        caption = (
            "Test error of trained networks after a lesion, without training again. a: one block "
            "deleted (dotted: none), by its place in the network. b: several blocks deleted, drawn "
            "at random. c: blocks of one shape swapped, by Kendall's rank correlation of the new "
            "order with the old. Plain networks lose the whole block, residual ones its branch. "
            f"Lines: mean, bands: 95 % t intervals over {study.seeds}; c: single draws."
        )
        return style.save(made, study, "lesion", caption, formats)


def error_by_block(lesions: pd.DataFrame, *, ax: Axes) -> Axes:
    """Error after one block was deleted against its place, 0 (first) to 1 (last)."""
    single = lesions[(lesions.lesion == "delete") & (lesions["count"] == 1)]
    single = single.assign(block=single.blocks.map(lambda blocks: blocks[0]))
    for network, group in single.groupby("network"):
        summary = intervals_by(group, ["block"], "error")
        _line(summary, summary.block / summary.block.max(), str(network), ax)
        whole = lesions[(lesions.network == network) & (lesions.lesion == "none")].error.mean()
        ax.axhline(whole, **_look(str(network)) | {"ls": ":", "lw": 0.8})
    ax.set_xlabel("deleted block, from first to last")
    ax.set_ylabel("test error (%)")
    ax.set_ylim(-3, 103)
    return ax


def error_by_count(lesions: pd.DataFrame, *, ax: Axes) -> Axes:
    """Error against the number of deleted blocks; a run is the mean of its draws."""
    deleted = lesions[lesions.lesion.isin(["none", "delete"])]
    of_run = deleted.groupby(["network", "run_id", "count"]).error.mean().reset_index()
    for network, group in of_run.groupby("network"):
        summary = intervals_by(group, ["count"], "error")
        _line(summary, summary["count"], str(network), ax)
    ax.set_xlabel("blocks deleted")
    ax.set_ylabel("test error (%)")
    return ax


def error_by_order(lesions: pd.DataFrame, *, ax: Axes) -> Axes:
    """Error of every draw of swapped blocks against the rank correlation of their order."""
    swapped = lesions[lesions.lesion == "swap"]
    for network, group in swapped.groupby("network"):
        look = _look(str(network))
        marker = style.MARKERS[str(network).split()[0]]
        filled = "full" if look["ls"] == "-" else "none"
        ax.plot(
            group.kendall_tau, group.error, marker, color=look["color"], markersize=3,
            fillstyle=filled, alpha=0.6,
        )  # fmt: skip
    ax.set_xlabel("Kendall's τ of the order")
    ax.set_ylabel("test error (%)")
    return ax


def deletion_table(lesions: pd.DataFrame) -> Table:
    """Error of the whole network and after lesions, over seeds."""
    rows = []
    for network, group in lesions.groupby("network"):
        whole = group[group.lesion == "none"].error
        deleted = group[group.lesion == "delete"]
        blocks = int((deleted["count"] == 1).sum() / group.run_id.nunique())
        quarter = int(min(deleted["count"].unique(), key=lambda n: abs(n - blocks / 4)))
        one, several = (
            deleted[deleted["count"] == n].groupby("run_id").error for n in (1, quarter)
        )
        rows.append(
            {
                "network": network,
                "test error %": whole.mean(),
                "one block deleted, mean over blocks (95 % interval)": interval(one.mean()),
                "worst block": one.max().mean(),
                "several deleted (95 % interval)": interval(several.mean()),
                "so many": f"{quarter} of {blocks}",
                "seeds": len(whole),
            }
        )
    return Table(rows)


def _line(summary: pd.DataFrame, x: pd.Series, network: str, ax: Axes) -> None:
    look = _look(network)
    ax.plot(x, summary["mean"], **look, label=network)
    low, high = summary.low.clip(0, 100), summary.high.clip(0, 100)
    ax.fill_between(x, low, high, color=look["color"], alpha=0.15, lw=0)


def _look(network: str) -> dict[str, object]:
    """A twin's colour; the deeper residual network dashed."""
    twin, depth = network.split()
    return {"color": style.COLORS[twin], "ls": "-" if int(depth) <= 20 else (0, (4, 1.5))}


def main() -> None:
    run_script(analyse, __doc__)
