"""Do a thousand layers train? Loss by step and gradient by block, plain and residual.

python analysis/depth_1000.py outputs/depth_1000
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from gradflow.analysis.figures import style
from gradflow.analysis.studies.gradient_highway import end_ratios, profile
from gradflow.analysis.study import Study, run_script
from gradflow.analysis.tables import Table
from gradflow.statistics import geometric_interval, interval

SWEPT = ("network_block", "network_placement", "network_shortcut")


def analyse(study: Study, formats: Sequence[str]) -> list[Path]:
    """The figure, a column a network, and the table; prints the table."""
    runs = study.runs.assign(network=study.runs.apply(network_of, axis=1))
    steps = study.records("steps", ["step", "loss"]).astype({"loss": float})
    blocks = study.records("blocks", ["step", "block_index", "input_grad_norm"], step=0)
    blocks = blocks.astype({"input_grad_norm": float})
    table = outcome_table(runs, steps, blocks)
    print(table)
    networks = runs[["run_id", "network"]]
    figures = draw(study, steps.merge(networks), blocks.merge(networks), formats)
    return [*study.save_table("depth_1000", table), *figures]


def network_of(run: pd.Series) -> str:
    """What a run's network is, but for its skips."""
    placement = run.network_placement.replace("_", " ").replace("preactivation", "pre-activation")
    return f"{run.depth} layers, {run.network_block}, {placement}"


def outcome_table(runs: pd.DataFrame, steps: pd.DataFrame, blocks: pd.DataFrame) -> Table:
    """By depth and twin: the gradient's ratio between the ends at initialisation, the loss at
    the first and last step, and how many runs diverged."""
    ends = steps.sort_values("step").groupby("run_id").loss
    losses = pd.DataFrame({"first": ends.first(), "last": ends.last()})
    ratios = end_ratios(blocks).set_index("run_id").ratio
    titles = (
        "gradient, first / last block (95 % interval of the logarithm)",
        "loss at the first step",
        "loss at the last (95 % interval)",
    )
    rows = []
    for (network, twin), group in runs.groupby(["network", "twin"]):
        ratio, found = ratios.reindex(group.run_id), losses.reindex(group.run_id)
        rows.append(
            {
                "network": f"{network}, {twin}",
                # A float32 may not hold the gradient of a thousand layers.
                titles[0]: geometric_interval(ratio)
                if np.isfinite(ratio).all()
                else "beyond float32",
                titles[1]: found["first"].mean(),
                titles[2]: interval(found["last"]),
                "runs": len(group),
                "diverged": int(group.diverged_at.notna().sum()),
            }
        )
    return Table(rows, dict.fromkeys(titles, ".3g"))


def draw(
    study: Study, steps: pd.DataFrame, blocks: pd.DataFrame, formats: Sequence[str]
) -> list[Path]:
    networks = sorted(steps.network.unique())
    options = {"sharey": "row", "sharex": False}
    with style.figure(2, len(networks), height=4.2, **options) as (made, axes):
        for column, network in enumerate(networks):
            top, bottom = axes[:, column]
            profile(steps[steps.network == network], "step", "loss", ax=top)
            finite = blocks[(blocks.network == network) & np.isfinite(blocks.input_grad_norm)]
            profile(finite, "block_index", "input_grad_norm", ax=bottom)
            top.set_title(network)
            top.set_xlabel("step")
            top.xaxis.set_major_locator(MaxNLocator(integer=True))
            bottom.set_xlabel("block (0: first; the last is the head's input)")
        if steps.loss.max() < 10 * steps.loss.min():
            axes[0, 0].set_yscale("linear")
        axes[0, 0].set_ylabel("training loss (nats)")
        axes[1, 0].set_ylabel(r"$\|\partial L/\partial x\|$ at initialisation")
        axes[0, 0].legend()
        style.letter_panels(axes.flat)
        caption = (
            "Mini-batch training loss by step (top) and the norm of the loss gradient at each "
            "block's input at initialisation (bottom). Thin lines: single seeds; thick: their "
            "geometric mean. A line that ends early is of a run that diverged; norms that a "
            "float32 cannot hold are not drawn."
        )
        return style.save(made, study, "depth_1000", caption, formats)


def main() -> None:
    run_script(analyse, __doc__, swept=SWEPT)
