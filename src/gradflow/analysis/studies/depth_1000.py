"""Do a thousand layers train? Loss by step and gradient by block, plain and residual.

python analysis/depth_1000.py outputs/depth_1000
"""

from typing import Any

import pandas as pd

from gradflow.analysis.figures import plots, style
from gradflow.analysis.frames import groups
from gradflow.analysis.output import Output
from gradflow.analysis.script import run_script
from gradflow.analysis.tables import Cell, Table
from gradflow.analysis.task_words import loss_name
from gradflow.statistics import geometric_interval, interval
from gradflow.verdict.gradient import end_to_end

SWEPT = ("network_block", "network_placement", "network_shortcut")


def analyze(output: Output) -> None:
    """The figure, a column per network, and the table."""
    study = output.study
    runs = study.runs.assign(network=study.runs.apply(network_of, axis=1))
    steps = study.records("steps", ["step", "loss"]).astype({"loss": float})
    blocks = study.records("blocks", ["step", "block_index", "input_grad_norm"], step=0)
    blocks = blocks.astype({"input_grad_norm": float})
    output.add_table("depth_1000", outcome_table(runs, steps, blocks))
    networks = runs[["run_id", "network"]]
    draw(output, steps.merge(networks), blocks.merge(networks))


def network_of(run: "pd.Series[Any]") -> str:
    """Depth, block and placement of a run's network, without its skips."""
    placement = run.network_placement.replace("_", " ").replace("preactivation", "pre-activation")
    return f"{run.depth} layers, {run.network_block}, {placement}"


def outcome_table(runs: pd.DataFrame, steps: pd.DataFrame, blocks: pd.DataFrame) -> Table:
    """By depth and twin: the gradient's end-to-end ratio at initialization, the loss at
    the first and last step, and how many runs diverged."""
    ends = steps.sort_values("step").groupby("run_id").loss
    losses = pd.DataFrame({"first": ends.first(), "last": ends.last()})
    ratios = end_to_end(blocks).set_index("run_id")
    titles = (
        "gradient, end-to-end ratio (95 % interval of the logarithm)",
        "loss at the first step",
        "loss at the last (95 % interval)",
    )
    rows: list[dict[str, Cell]] = []
    for (network, twin), group in groups(runs, ["network", "twin"]):
        ratio, found = ratios.reindex(group.run_id), losses.reindex(group.run_id)
        rows.append(
            {
                "network": f"{network}, {twin}",
                # A float32 may not hold the gradient of a thousand layers.
                titles[0]: "beyond float32"
                if ratio.is_bound.any() or ratio.ratio.isna().any()
                else geometric_interval(ratio.ratio),
                titles[1]: found["first"].mean(),
                titles[2]: interval(found["last"]),
                "runs": len(group),
                "diverged": int(group.diverged_at.notna().sum()),
            }
        )
    return Table(rows, dict.fromkeys(titles, ".3g"))


def draw(output: Output, steps: pd.DataFrame, blocks: pd.DataFrame) -> None:
    """Loss by step and gradient by block, a column per network."""
    networks = sorted(steps.network.unique())
    options = {"sharey": "row", "sharex": False}
    with output.figure(2, len(networks), height=4.2, **options) as (made, axes):
        for column, network in enumerate(networks):
            top, bottom = axes[:, column]
            plots.profile(steps[steps.network == network], x="step", y="loss", ax=top)
            here = blocks[blocks.network == network]
            plots.profile(here, x="block_index", y="input_grad_norm", ax=bottom)
            top.set_title(network)
            style.whole_axis(top, "step")
            style.whole_axis(bottom, "block (0: first; the last is the head's input)")
        if steps.loss.max() < 10 * steps.loss.min():
            axes[0, 0].set_yscale("linear")
        axes[0, 0].set_ylabel(loss_name(output.study.runs))
        axes[1, 0].set_ylabel(r"$\|\partial L/\partial x\|$ at initialization")
        style.legend(made, axes.flat)
        style.letter_panels(axes.flat)
        caption = (
            "Mini-batch training loss by step (top) and the norm of the loss gradient at each "
            "block's input at initialization (bottom). Thin lines: single seeds; thick: their "
            "median. A line that ends early, with a cross, is of a run that diverged; ticks at the "
            "edge are norms that a float32 holds as 0 or as infinite."
        )
        output.add_figure(made, "depth_1000", caption)


def main() -> None:
    """The command line."""
    run_script(analyze, __doc__, swept=SWEPT)
