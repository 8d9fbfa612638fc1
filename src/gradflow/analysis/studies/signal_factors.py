"""The squared gradient's factor per block: by batch size with batch norm, by branch scale."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes

from gradflow.analysis.figures import plots, style
from gradflow.analysis.output import Output
from gradflow.theory.depth import batch_norm_factor, residual_factor

LOOKS = {twin: look | {"lw": 0} for twin, look in style.TWIN_LOOKS.items()}


def draw_factors(output: Output, normed: pd.DataFrame, scaled: pd.DataFrame) -> None:
    """The figure; `normed`: plain networks with batch norm, `scaled`: residual ones without."""
    with output.figure(1, 2, height=2.3) as (made, axes):
        batches = np.geomspace(normed.batch.min(), normed.batch.max(), 40)
        line = [batch_norm_factor(batch) for batch in batches]
        axes[0, 0].set_xscale("log", base=2)
        factor_against(factors(normed, "batch"), "batch", batches, line, ax=axes[0, 0])
        axes[0, 0].axhline(np.pi / (np.pi - 1), color="k", lw=0.6, ls=":")
        axes[0, 0].set_xlabel("batch size")
        axes[0, 0].set_title("plain, batch norm")
        scales = np.linspace(0, scaled.scale.max(), 40)
        line = [residual_factor(1.0, scale) for scale in scales]
        factor_against(factors(scaled, "scale"), "scale", scales, line, ax=axes[0, 1])
        axes[0, 1].set_xlabel("branch scale b")
        axes[0, 1].set_title("residual, no norm")
        style.legend(made, axes[0])
        style.letter_panels(axes[0])
        caption = (
            "The squared gradient's factor per block toward the input, before training. a: plain "
            "ReLU networks with batch norm, by batch size; line: Yang et al. 2019, theorem 8; "
            "dotted: its limit pi/(pi - 1). b: x + b W ReLU(x), by the branch's scale b; line: "
            f"1 + b^2. Open marks: single seeds; filled: the median of {output.study.seeds}."
        )
        output.add_figure(made, "signal_propagation_factors", caption)


def factors(blocks: pd.DataFrame, by: str) -> pd.DataFrame:
    """A row per run: `factor`, the squared gradient's per block, from the first to the last row."""
    steps = blocks.block_index.max() - 1
    first = blocks[blocks.block_index == 1]
    return first.assign(factor=first.backward ** (1 / steps))[["twin", by, "factor"]]


def factor_against(
    found: pd.DataFrame,
    by: str,
    places: npt.NDArray[np.float64],
    theory: Sequence[float],
    *,
    ax: Axes,
) -> Axes:
    """Marks with intervals by twin, of the logarithm on a linear axis, and theory as a line."""
    plots.medians(found, x=by, y="factor", looks=LOOKS, ax=ax, log=True)
    ax.set_yscale("linear")
    ax.plot(places, theory, color="k", lw=0.8, zorder=0, label="theory")
    ax.set_ylabel("factor per block")
    return ax
